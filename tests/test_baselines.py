"""The project's own gate: a system trained here, quantized for three targets, is held to `tests/baselines/`.

Another processor trains other weights, as another seed would: accuracies are compared over the same samples, and only a
drop that chance does not explain fails. `pytest tests/test_baselines.py --offramp-update` writes the file.
"""

from dataclasses import replace

import pytest
from offramp.options import Options
from offramp.pipeline import deploy

EPOCHS = 12


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    from offramp.models.system import find_system

    folder = tmp_path_factory.mktemp("held")
    options = Options(
        precisions=("int8",), runs=folder / "runs", out=folder / "dist", measure=False, older_runtime=False
    )
    deploy("resnet_xs", options, replace(find_system("resnet_xs").recipe, epochs=EPOCHS))
    return folder / "dist/resnet_xs"


@pytest.mark.slow
def test_resnet_xs_holds_to_its_baseline(dist, offramp_check):
    document = offramp_check(dist, recorded=True)  # it was executed a moment ago, when it was deployed
    assert {(row["target"], row["precision"]) for row in document["artifacts"]} == {
        *((target, "int8") for target in ("onnx", "coreml", "tflite"))
    }
