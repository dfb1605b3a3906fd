"""The requirements of OGC 18-062r2, each with its tests, against a real server."""

import pytest

pytest.register_assert_rewrite("conformance.answers")
