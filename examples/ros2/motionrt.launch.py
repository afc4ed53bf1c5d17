"""Starts ros2_node.py, configures it and activates it: ros2 launch motionrt.launch.py layout:=kinect20"""

import sys
from pathlib import Path

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

SETTINGS = {
    "model": "live",
    "layout": "kinect20",
    "axes": "ros",
    "hri": "false",
    "skeletons": "skeletons",
    "python": sys.executable,  # of the environment that has motionrt
}


def generate_launch_description() -> LaunchDescription:
    given = {name: LaunchConfiguration(name) for name in SETTINGS}
    node = LifecycleNode(
        name="motionrt",
        namespace="",
        executable=given["python"],
        arguments=[str(Path(__file__).with_name("ros2_node.py"))],
        parameters=[{name: given[name] for name in ("model", "layout", "axes", "hri")}],
        remappings=[("skeletons", given["skeletons"])],
        output="screen",
    )

    def change(transition: int) -> EmitEvent:
        return EmitEvent(event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition))

    activate = change(Transition.TRANSITION_ACTIVATE)
    configured = OnStateTransition(
        target_lifecycle_node=node, start_state="configuring", goal_state="inactive", entities=[activate]
    )
    arguments = [DeclareLaunchArgument(name, default_value=value) for name, value in SETTINGS.items()]
    return LaunchDescription(
        [*arguments, RegisterEventHandler(configured), node, change(Transition.TRANSITION_CONFIGURE)]
    )
