"""The numbers that kernels, reference and callers share; their reasons stand in csrc/common/constants.h, pose.h and
pose_step.h, and a test keeps them equal to those."""

NEAR_PLANE = 0.2
COVARIANCE_DILATION = 0.3
ANTIALIASING_MIN = 2.5e-5
FIELD_MARGIN = 0.3
ALPHA_MAX = 0.99
ALPHA_MIN = 1.0 / 255.0
TRANSMITTANCE_MIN = 1e-4
QUAT_LENGTH_MIN = 1e-12
SH_OFFSET = 0.5
SSIM_RADIUS = 5
SSIM_SIGMA = 1.5
SSIM_C1 = 0.0001
SSIM_C2 = 0.0009

TWIST = 6
POSE_PARAMETERS = 8
RESIDUAL_BINS = 128
RESIDUAL_MAX = 0.5
HUBER_TUNING = 1.345
TUKEY_TUNING = 4.685
NORMAL_FROM_MAD = 1.4826
SCALE_START = 0.1
SCALE_MAX = 0.2
TURN_MAX = 0.25
SHIFT_MAX = 0.1
DAMPING_MIN = 1e-6
DAMPING_MAX = 1e3
DAMPING_UP = 8.0
DAMPING_DOWN = 0.2
HOPELESS = 4.0
BRIGHTNESS_PRIOR = 1e-3
BRIGHTNESS_FIXED = 1e6
GAIN_MIN = 0.3
GAIN_MAX = 3.0
OFFSET_MAX = 0.5
SATURATED = 254.5 / 255
COST_ROUNDING = 1e-6
ROBUST = ("l2", "huber", "tukey")  # in the order of the enumeration there

# What training adjusts, in the order of the kernels.
PARAMETERS = ("means", "log_scales", "quats", "opacity_logits", "sh")
