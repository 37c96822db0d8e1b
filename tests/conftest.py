"""What holds for all tests."""

from __future__ import annotations

import hypothesis

# The machines that run this are shared: how long an example takes there says nothing.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")
