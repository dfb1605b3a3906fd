"""
Execute requests held against process descriptions, before a job is made and where it runs.

===================  ===========================================================================
module               holds
===================  ===========================================================================
``request``          :class:`RequestValidator`: the whole request, and the values to compute with
``inputs``           one described input: occurrences, kinds of values, what a schema says of them
``outputs``          selection of outputs, and the subscriber
``input_schema``     one JSON Schema, compiled
``keywords``         keywords that are read in another way than a plain validator does
``dialect``          what descriptions write, in the words of JSON Schema 2020-12
``known_schemas``    the published schemas that descriptions refer to; nothing is ever fetched
``plain_items``      long arrays of simple items, looked through at once
``formats``          the formats that are asserted
``sentences``        what a client reads of a violation
``secrets``          inputs that nobody shall read
===================  ===========================================================================
"""

from pygeoapi_prefect.exceptions import Violation
from pygeoapi_prefect.validation.outputs import subscriber_urls
from pygeoapi_prefect.validation.request import RequestValidator
from pygeoapi_prefect.validation.secrets import hiding_inputs, secret_inputs

__all__ = ["RequestValidator", "Violation", "hiding_inputs", "secret_inputs", "subscriber_urls"]
