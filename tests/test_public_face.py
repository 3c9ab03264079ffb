"""The public names: each resolves."""

import offramp
import pytest


def test_every_public_name_resolves() -> None:
    for name in offramp.__all__:
        assert getattr(offramp, name) is not None


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(AttributeError, match=r"offramp has no nonsense; it offers .*deploy"):
        offramp.nonsense  # noqa: B018
