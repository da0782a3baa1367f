"""Franka Emika Panda: a 7-axis arm with a parallel gripper.

Sources of the numbers. Position, velocity, acceleration, jerk and torque limits of the arm: the manufacturer's Franka
Control Interface documentation, "Robot and interface specifications: Limits for Panda". Hand: product manual of the
Franka Hand: width 80 mm, 50 mm/s per finger, continuous force 70 N. The hand publishes no acceleration or jerk;
1 m/s^2 and 50 m/s^3 are ours: full speed within one control step of 50 ms.

Servos. The arm's own position controller follows closely; stiffness and damping give every joint a lag of
damping / stiffness = 0.04 s, overdamped at the largest inertia seen from the joint.
"""

from praxon.robots.spec import Joint, JointLimits, RobotSpec, RosInterface, Workspace

# lower, upper [rad], velocity [rad/s], acceleration [rad/s^2], jerk [rad/s^3], torque [N m]
_ARM_LIMITS = (
    JointLimits(-2.8973, 2.8973, 2.1750, 15.0, 7500.0, 87.0),
    JointLimits(-1.7628, 1.7628, 2.1750, 7.5, 3750.0, 87.0),
    JointLimits(-2.8973, 2.8973, 2.1750, 10.0, 5000.0, 87.0),
    JointLimits(-3.0718, -0.0698, 2.1750, 12.5, 6250.0, 87.0),
    JointLimits(-2.8973, 2.8973, 2.6100, 15.0, 7500.0, 12.0),
    JointLimits(-0.0175, 3.7525, 2.6100, 20.0, 10000.0, 12.0),
    JointLimits(-2.8973, 2.8973, 2.6100, 20.0, 10000.0, 12.0),
)
_STIFFNESS = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)
_LAG_S = 0.04

_ARM = tuple(
    Joint(
        name=f"panda_joint{i}",
        limits=limits,
        unit="rad",
        stiffness=stiffness,
        damping=_LAG_S * stiffness,
        menagerie_name=f"joint{i}",
    )
    for i, (limits, stiffness) in enumerate(zip(_ARM_LIMITS, _STIFFNESS, strict=True), start=1)
)
_FINGER = Joint(
    name="panda_finger_joint1",
    limits=JointLimits(0.0, 0.04, 0.05, 1.0, 50.0, 70.0),
    unit="m",
    stiffness=4000.0,
    damping=_LAG_S * 4000.0,
    menagerie_name="finger_joint1",
    mimics=("panda_finger_joint2",),
    menagerie_mimics=("finger_joint2",),
)

PANDA = RobotSpec(
    name="panda",
    joints=(*_ARM, _FINGER),
    home=(0.0, -0.2, 0.0, -2.2, 0.0, 2.0, 0.7853, 0.04),
    base_frame="panda_link0",
    tool_site="tool",
    gripper="panda_finger_joint1",
    workspace=Workspace(lower=(0.2, -0.5, 0.005), upper=(0.8, 0.5, 0.8)),
    self_distance_pairs=(
        ("hand", "link0"),
        ("hand", "link1"),
        ("hand", "link2"),
        ("hand", "link3"),
        ("link5", "link1"),
        ("link6", "link0"),
        ("link6", "link1"),
    ),
    self_distance_m=0.02,
    cameras=("wrist",),
    ros=RosInterface(trajectory_topic="panda_arm_controller/joint_trajectory"),
    model="assets/panda.xml",
    menagerie=("franka_emika_panda", "panda"),
)
