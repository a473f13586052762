"""Coarse poses: where may a picture have been taken?"""
