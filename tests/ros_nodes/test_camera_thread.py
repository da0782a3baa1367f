"""Pictures that stop coming are said to have stopped."""

import threading

import pytest

from praxon.sim.rendering import rendering_problem

pytestmark = [
    pytest.mark.ros,
    pytest.mark.render,
    pytest.mark.skipif(rendering_problem() is not None, reason="nothing can be rendered here"),
]


def test_a_camera_that_fails_is_reported():
    from praxon.ros_nodes.camera_thread import CameraThread
    from praxon.ros_nodes.live_simulation import LiveSimulation
    from praxon.ros_nodes.streams import stream
    from praxon.sim.factory import make_simulation

    simulation = make_simulation("reach", cameras=["front"])
    streams = [stream(f, simulation.scene.robot) for f in simulation.contract.observations if f.kind == "image"]
    said, heard = [], threading.Event()

    def publish(topic, message):
        raise OSError("the wire is cut")

    def failed(sentence):
        said.append(sentence)
        heard.set()

    cameras = CameraThread(LiveSimulation(simulation, 0, 0), streams, 20.0, publish, failed)
    cameras.start()
    assert heard.wait(20)
    cameras.stop()
    assert said == ["The cameras stopped: OSError: the wire is cut"]
