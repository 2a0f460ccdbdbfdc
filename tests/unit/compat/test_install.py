"""Installing the names of `seldon_core`: visible, harmless, and never before a real package."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from infergraph import compat

SURFACE = {
    "seldon_core": "__version__ Storage",
    "seldon_core.user_model": (
        "SeldonComponent SeldonResponse SeldonNotImplementedError client_predict client_transform_input "
        "client_transform_output client_route client_aggregate client_send_feedback client_health_status "
        "client_class_names client_feature_names client_custom_tags client_custom_metrics "
        "INCLUDE_METRICS_IN_CLIENT_RESPONSE"
    ),
    "seldon_core.flask_utils": (
        "SeldonMicroserviceException jsonify get_request get_multi_form_data_request ANNOTATIONS_FILE "
        "ANNOTATION_REST_TIMEOUT ANNOTATION_GRPC_MAX_MSG_SIZE"
    ),
    "seldon_core.utils": (
        "json_to_seldon_message json_to_feedback json_to_seldon_messages json_to_seldon_model_metadata "
        "seldon_message_to_json seldon_messages_to_json feedback_to_json get_data_from_proto grpc_datadef_to_array "
        "get_meta_from_proto array_to_grpc_datadef array_to_rest_datadef array_to_list_value construct_response "
        "construct_response_json extract_request_parts extract_request_parts_json extract_feedback_request_parts "
        "get_request_path getenv getenv_as_bool setup_tracing"
    ),
    "seldon_core.proto.prediction_pb2": (
        "SeldonMessage SeldonMessageList DefaultData Tensor Meta Metric Status Feedback RequestResponse "
        "SeldonModelMetadataRequest SeldonMessageMetadata SeldonModelMetadata SeldonGraphMetadata DESCRIPTOR"
    ),
    "seldon_core.proto.prediction_pb2_grpc": " ".join(
        f"{service}Stub {service}Servicer add_{service}Servicer_to_server"
        for service in ("Generic", "Model", "Router", "Transformer", "OutputTransformer", "Combiner", "Seldon")
    ),
    "seldon_core.proto.tensorflow.core.framework.tensor_pb2": "TensorProto",
    "seldon_core.proto.tensorflow.core.framework.tensor_shape_pb2": "TensorShapeProto",
    "seldon_core.proto.tensorflow.core.framework.types_pb2": "DataType DT_FLOAT DT_STRING",
    "seldon_core.proto.tensorflow.core.framework.resource_handle_pb2": "ResourceHandleProto",
    "seldon_core.wrapper": "get_rest_microservice get_metrics_microservice SeldonModelGRPC get_grpc_server",
    "seldon_core.seldon_methods": (
        "predict send_feedback transform_input transform_output route aggregate health_status init_metadata"
    ),
    "seldon_core.metrics": (
        "create_counter create_gauge create_timer validate_metrics split_image_tag SeldonMetrics BINS COUNTER GAUGE "
        "TIMER PREDICT_METRIC_METHOD_TAG INPUT_TRANSFORM_METRIC_METHOD_TAG OUTPUT_TRANSFORM_METRIC_METHOD_TAG "
        "ROUTER_METRIC_METHOD_TAG AGGREGATE_METRIC_METHOD_TAG FEEDBACK_METRIC_METHOD_TAG HEALTH_METRIC_METHOD_TAG "
        "DEFAULT_LABELS"
    ),
    "seldon_core.metadata": "validate_model_metadata SeldonInvalidMetadataError",
    "seldon_core.env_utils": (
        "get_model_name get_image_name get_deployment_name get_predictor_name get_predictor_version ENV_MODEL_NAME "
        "ENV_MODEL_IMAGE ENV_SELDON_DEPLOYMENT_NAME ENV_PREDICTOR_NAME ENV_PREDICTOR_LABELS NONIMPLEMENTED_MSG "
        "NONIMPLEMENTED_IMAGE_MSG"
    ),
    "seldon_core.seldon_client": (
        "SeldonClient SeldonClientException SeldonClientPrediction SeldonClientFeedback SeldonClientCombine "
        "SeldonChannelCredentials SeldonCallCredentials"
    ),
    "seldon_core.microservice": "main parse_parameters load_annotations PARAMETERS_ENV_NAME",
    "seldon_core.microservice_tester": (
        "main SeldonTesterException generate_batch unfold_contract gen_continuous gen_categorical"
    ),
    "seldon_core.api_tester": "main",
    "seldon_core.batch_processor": "main start_multithreaded_batch_worker",
    "seldon_core.serving_test_gen": "create_seldon_api_testing_file",
    "seldon_core.storage": "Storage",
}
OTHER_PACKAGES = [
    "api_tester",
    "batch_processor",
    "microservice_tester",
    "seldon_client",
    "seldon_methods",
    "serving_test_gen",
    "wrapper",
]


def _run(program: str, *folders: Path) -> str:
    """What a fresh interpreter prints; `folders` come first on its path."""
    path = "".join(f"sys.path.insert(0, {str(folder)!r}); " for folder in folders)
    command = [sys.executable, "-c", f"import sys; {path}\n{program}"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in SURFACE.items() for name in names.split()]
)
def test_every_name_that_user_code_relies_on_is_there(module: str, name: str) -> None:
    """Each name of the compatibility surface can be imported from its module."""
    assert compat.install()
    assert getattr(importlib.import_module(module), name) is not None


@pytest.mark.parametrize("module", [module for module in SURFACE if module.rpartition(".")[2] not in OTHER_PACKAGES])
def test_what_components_import_bears_the_originals_name(module: str) -> None:
    """Classes of the shim have the identity that pickles and tracebacks of the original know."""
    assert compat.install()
    assert importlib.import_module(module).__name__ == module


def test_a_module_of_another_package_is_that_very_module() -> None:
    """A module that another package provides is one module under two names, so that its classes have one identity."""
    assert compat.install()
    module = importlib.import_module("seldon_core.seldon_client")
    assert module is importlib.import_module("infergraph_seldon_tools.seldon_client")
    assert module.__spec__.name == module.__name__ == "infergraph_seldon_tools.seldon_client"


def test_nothing_happens_before_install() -> None:
    """Importing infergraph and its compatibility package provides no seldon_core; installing it does."""
    program = """
import importlib.util, infergraph, infergraph.compat
print(importlib.util.find_spec("seldon_core"))
print(infergraph.compat.install())
import seldon_core.user_model
print(seldon_core.user_model.SeldonComponent.__module__)
"""
    assert _run(program).split("\n") == ["None", "True", "seldon_core.user_model"]


def test_user_model_brings_in_no_protobuf_grpc_or_flask() -> None:
    """A component that needs the base class alone pays for neither protobuf nor gRPC nor Flask."""
    program = """
from infergraph import compat
compat.install()
import seldon_core.user_model
print(sorted({"flask", "grpc", "google.protobuf", "aiohttp"} & set(sys.modules)))
"""
    assert _run(program) == "[]"


def test_install_twice_adds_one_folder_at_the_end() -> None:
    """Installing again changes nothing, and the shim stands behind all others on the module search path."""
    program = """
from infergraph import compat
print(compat.install(), compat.install(), compat.install())
print(sys.path.count(str(compat.SHIM)), sys.path[-1] == str(compat.SHIM))
"""
    assert _run(program).split("\n") == ["True True True", "1 True"]


def test_processes_started_from_here_have_it_too() -> None:
    """A component's own worker processes import its module again, with what that imports."""
    program = """
import importlib.util, multiprocessing
from concurrent.futures import ProcessPoolExecutor
from infergraph import compat
compat.install()
with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
    print(pool.submit(importlib.util.find_spec, "seldon_core.user_model").result().name)
"""
    assert _run(program) == "seldon_core.user_model"


def test_a_folder_of_that_name_is_no_package(tmp_path: Path) -> None:
    """A checkout that lies beside the component, without an __init__.py, does not stand in the way."""
    (tmp_path / "seldon_core").mkdir()
    assert _run("from infergraph import compat; print(compat.install())", tmp_path) == "True"


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder with an installed package of that name."""
    (tmp_path / "seldon_core").mkdir()
    (tmp_path / "seldon_core" / "__init__.py").write_text("__version__ = 'theirs'\n")
    return tmp_path


def test_an_installed_package_wins(real: Path) -> None:
    """Where a real seldon_core is importable, installing does nothing and says so."""
    program = """
from infergraph import compat
before = list(sys.path)
print(compat.install(), sys.path == before)
import seldon_core
print(seldon_core.__version__, compat.install())
"""
    assert _run(program, real).split("\n") == ["False True", "theirs False"]


def test_a_package_found_later_wins(real: Path) -> None:
    """A real seldon_core that comes onto the path after installing, before its first import, is the one imported."""
    program = f"""
from infergraph import compat
print(compat.install())
sys.path.insert(0, {str(real)!r})
import seldon_core
print(seldon_core.__version__)
"""
    assert _run(program).split("\n") == ["True", "theirs"]


def test_an_unknown_submodule_is_a_plain_import_error() -> None:
    """A module that the original never had fails as it would there."""
    assert compat.install()
    with pytest.raises(ModuleNotFoundError, match=r"seldon_core\.nothing"):
        importlib.import_module("seldon_core.nothing")


def test_the_version_counts_as_the_originals() -> None:
    """Version checks written against 1.18 take ours."""
    assert compat.install()
    import seldon_core

    release, _, local = seldon_core.__version__.partition("+")
    assert tuple(int(part) for part in release.split(".")) >= (1, 18, 2)
    assert local == "infergraph"
