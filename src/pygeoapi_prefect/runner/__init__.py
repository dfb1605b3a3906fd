"""
The job runner: claims jobs, has them run, watches them and finishes them.

=================  ======================================================================================
module             holds
=================  ======================================================================================
``os_processes``   what the operating system does for us: process trees, parent-death signals, locks
``presence``       the data folder: who lives (locks), where the runner is (status file)
``forkserver``     the process that pool workers are forked from, and that ends them with all they started
``pool_worker``    runs one job after the other in a child of the forkserver
``pool``           the pool workers of a runner
``pool_jobs``      the jobs that run in the pool
``deployments``    the jobs that Prefect runs in deployments
``flow_run_tasks`` what is asked of Prefect and the stores for one such job, in threads
``held_jobs``      a job that this runner holds, in memory
``prefect_link``   where this runner finds Prefect
``flow_run_watch`` hears of states of flow runs, and whether Prefect can be reached
``recorder``       shows jobs in Prefect, beside their execution
``prefect_server`` the local Prefect server of an embedded runner
``service``        :class:`RunnerService`: the loop
``supervisor``     in web processes: sees to it that an embedded runner exists
``__main__``       a runner as a process
=================  ======================================================================================
"""
