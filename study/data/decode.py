"""`decode_image` under its former name, which people's scripts import."""

from study.data.images.decode import decode_image

__all__ = ["decode_image"]
