"""Pose refinement: where was a picture taken?"""
