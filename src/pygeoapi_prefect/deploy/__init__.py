"""
Deployments of processes: made and kept as the configuration says.

===================  ============================================================
module               holds
===================  ============================================================
``planned``          which deployment a process shall have
``job_variables``    what the work pool's job template takes
``deployer``         compares with what Prefect has, and changes that
===================  ============================================================
"""
