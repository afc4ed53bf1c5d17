"""Blender imports the files of every rig: `apt install blender python3-numpy`."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from motionrt.runtime.body.layout import Layout
from motionrt.runtime.body.motion import Motion
from motionrt.runtime.io.rigs import RIGS

SCRIPT = """
import builtins, bpy, json, numpy, sys
plain = builtins.open  # Debian's importers use names that its Python and numpy no longer have
numpy.bool = bool
builtins.open = lambda file, mode="r", *args, **more: plain(file, mode.replace("U", ""), *args, **more)
found = {}
for path in sys.argv[sys.argv.index("--") + 1 :]:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    (bpy.ops.import_scene.gltf if path.endswith(".glb") else bpy.ops.import_anim.bvh)(filepath=path)
    rig = next(one for one in bpy.context.scene.objects if one.type == "ARMATURE")
    first, last = bpy.data.actions[0].frame_range
    found[path] = {"seconds_at_24": (last - first) / 24, "heads": []}
    for frame in (first, last):
        bpy.context.scene.frame_set(round(frame))
        heads = {bone.name: [*(rig.matrix_world @ bone.head)] for bone in rig.pose.bones}
        found[path]["heads"].append(heads)
print("FOUND" + json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_blender_sees_the_joints_where_they_are(samples: list[Motion], tmp_path: Path) -> None:
    blender = shutil.which("blender")
    if blender is None:
        pytest.skip("blender is not installed")
    walk = Motion(joints=samples[1].joints[:25], fps=24, layout="smpl22")
    paths = {tmp_path / f"{rig}{suffix}": rig for rig in RIGS for suffix in (".bvh", ".glb")}
    for path, rig in paths.items():
        walk.save(path, rig=rig)
    walk.save(tmp_path / "character.glb", rig=tmp_path / "unreal.glb")
    paths[tmp_path / "character.glb"] = "unreal"
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [blender, "-b", "--factory-startup", "--python", tmp_path / "script.py", "--", *paths]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if "No module named 'numpy'" in done.stdout + done.stderr:
        pytest.skip("Blender has no numpy, which its importer of glTF needs")
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, done.stdout + done.stderr
    for path, seen in json.loads(lines[0].removeprefix("FOUND")).items():
        names = RIGS[paths[Path(path)]]
        assert seen["seconds_at_24"] == pytest.approx(1, abs=1e-3), path
        for heads, frame in zip(seen["heads"], walk.joints[[0, -1]], strict=True):
            assert set(heads) == set(names.values()), path
            places = np.array([heads[names[joint]] for joint in Layout.load("smpl22").joints])
            x, y, z = frame.T  # Blender has z up
            assert np.linalg.norm(places - np.stack([x, -z, y], 1), axis=1).mean() < 0.03, path
