"""Files of ONNX models: data beside a model are read for a path alone, and from its folder."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pytest

import chainrule as cr

pytestmark = pytest.mark.unsanitized

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install .[test]")

from chainrule.onnx import from_onnx, to_onnx  # noqa: E402

NET = cr.Network([4, 8, 3], ["relu", "identity"], seed=0)


def save(folder, location="m.bin"):
    """Write a model with external data, and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "m.onnx"
    onnx.save(to_onnx(NET), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def change(path, **entries):
    """Write other entries for the data of the first tensor; None removes one."""
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    old = {entry.key: entry.value for entry in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in old.items():
        if value is not None:
            tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def assert_refused(path, message):
    with pytest.raises(ValueError, match=f"tensor 'W1' .*{message}"):
        from_onnx(path)


def test_data_in_the_model_s_folder_are_read(tmp_path, monkeypatch):
    path = save(tmp_path / "model")
    np.testing.assert_array_equal(from_onnx(path).get_parameters(), NET.get_parameters())
    monkeypatch.chdir(path.parent)
    np.testing.assert_array_equal(from_onnx("m.onnx").get_parameters(), NET.get_parameters())


def test_data_in_a_folder_below_are_read(tmp_path):
    path = save(tmp_path / "model")
    (path.parent / "data").mkdir()
    (path.parent / "m.bin").rename(path.parent / "data" / "m.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = "data/m.bin"
    path.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(from_onnx(path).get_parameters(), NET.get_parameters())


@pytest.mark.parametrize("as_bytes", [True, False])
def test_without_a_path_no_file_is_read(tmp_path, monkeypatch, as_bytes):
    path = save(tmp_path / "model")
    monkeypatch.chdir(path.parent)
    model = onnx.load(path, load_external_data=False)
    before = model.SerializeToString()
    with pytest.raises(ValueError, match="tensor 'W1' has its data in another file: pass the path"):
        from_onnx(before if as_bytes else model)
    assert model.SerializeToString() == before


LOCATIONS = ["", ".", "../m.bin", "a/../m.bin", "./m.bin", "a//m.bin", "..\\m.bin", "C:m.bin"]


@pytest.mark.parametrize("location", [*LOCATIONS, "absolute"])
def test_other_folders_are_not_read(tmp_path, location):
    path = save(tmp_path / "model")
    shutil.copy(path.parent / "m.bin", tmp_path / "m.bin")
    location = str(path.parent / "m.bin") if location == "absolute" else location
    change(path, location=location)
    assert_refused(path, "expected a file in the model's folder or below it")


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("location", ["link.bin", "folder/m.bin"])
def test_symbolic_links_are_not_followed(tmp_path, location):
    path = save(tmp_path / "model")
    (path.parent / "link.bin").symlink_to(path.parent / "m.bin")
    (path.parent / "folder").symlink_to(path.parent)
    change(path, location=location)
    assert_refused(path, "symbolic link")


def test_a_model_behind_a_symbolic_link_is_read(tmp_path):
    path = tmp_path / "link.onnx"
    onnx.save(to_onnx(NET), tmp_path / "m.onnx")
    path.symlink_to(tmp_path / "m.onnx")
    assert from_onnx(path).sizes == NET.sizes


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_pipes_are_not_waited_for(tmp_path):
    path = save(tmp_path / "model")
    os.mkfifo(path.parent / "pipe")
    change(path, location="pipe")
    assert_refused(path, "is not a regular file")
    with pytest.raises(ValueError, match="is not a regular file"):
        from_onnx(path.parent / "pipe")


def test_folders_are_no_files(tmp_path):
    path = save(tmp_path / "model")
    (path.parent / "folder").mkdir()
    change(path, location="folder")
    assert_refused(path, "is not a regular file")


def test_a_missing_file_is_named(tmp_path):
    path = save(tmp_path / "model")
    change(path, location="missing.bin")
    assert_refused(path, "'missing.bin', which cannot be read")


RANGES = {
    "beyond the end": ({"offset": "10000"}, "which holds"),
    "longer than the file": ({"length": "10000"}, "which holds"),
    "longer than the tensor": ({"length": "132", "offset": "0"}, "takes 128 bytes, and has 132"),
    "shorter than the tensor": ({"length": "124", "offset": "0"}, "takes 128 bytes, and has 124"),
    "negative": ({"offset": "-4"}, "expected a number of bytes"),
    "no number": ({"length": "1e2"}, "expected a number of bytes"),
    "of too many digits": ({"offset": "9" * 5000}, "expected a number of bytes"),
}


@pytest.mark.parametrize("case", RANGES)
def test_no_more_is_read_than_the_file_and_the_tensor_hold(tmp_path, case):
    entries, message = RANGES[case]
    path = save(tmp_path / "model")
    change(path, **entries)
    assert_refused(path, message)


def test_one_range_is_not_read_for_many_tensors(tmp_path):
    """A file of 1 GB and a thousand tensors over all of it would take 1 TB."""
    path = save(tmp_path / "model")
    model = onnx.load(path, load_external_data=False)
    for i in range(20):
        model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
        model.graph.initializer[-1].name = f"copy {i}"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"tensor 'copy \d+' .*all tensors may take"):
        from_onnx(path)


def test_data_of_constants_in_inner_graphs_are_not_read_either(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"SECRET=1")
    model = to_onnx(NET)
    value = onnx.TensorProto(name="secret", data_type=2, dims=[8], data_location=1)
    value.external_data.add(key="location", value=".env")
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Constant", [], ["c"], value=value)], "inner", [], []
    )
    model.graph.node.append(onnx.helper.make_node("If", ["x"], ["i"], then_branch=inner))
    with pytest.raises(ValueError, match="tensor 'secret' has its data in another file"):
        from_onnx(model.SerializeToString())


def test_models_as_text_are_read_by_their_extension(tmp_path):
    path = tmp_path / "m.textproto"
    onnx.save(to_onnx(NET), path)
    np.testing.assert_array_equal(from_onnx(path).get_parameters(), NET.get_parameters())
    path.write_text("graph { node")
    with pytest.raises(ValueError, match="is no ONNX model"):
        from_onnx(path)
