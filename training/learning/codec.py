"""Frames through a video encoder and its decoder."""
from fractions import Fraction

import av
import numpy as np

#: Encoders of FFmpeg, and the decoder of what each makes.
DECODERS = {"libx264": "h264", "libx265": "hevc"}


def coded(frames, encoder, options, kbits=None, gop=None):
    """Frames [h, w, 3] of 8 bits with even sides, 25 of them a second -> what a decoder gives back of each.

    `options` are the encoder's own; `kbits` (kbit/s) and `gop` (frames from one key frame to the next) go to any encoder.
    """
    height, width = frames[0].shape[:2]
    writer, reader = av.CodecContext.create(encoder, "w"), av.CodecContext.create(DECODERS[encoder], "r")
    writer.width, writer.height, writer.pix_fmt, writer.time_base = width, height, "yuv420p", Fraction(1, 25)
    writer.options, writer.thread_count, reader.thread_count = options, 1, 1
    if kbits:
        writer.bit_rate = kbits * 1000
    if gop:
        writer.gop_size, writer.max_b_frames = gop, 0
    packets = []
    for index, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = index
        packets += writer.encode(picture)
    decoded = [frame for packet in packets + writer.encode(None) + [None] for frame in reader.decode(packet)]
    return [frame.to_ndarray(format="rgb24") for frame in decoded]
