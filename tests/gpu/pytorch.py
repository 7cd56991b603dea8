"""Frames a second of the network `full` in PyTorch, FP16 and channels-last, eager and compiled, and the GPU's matrix rate.

Called by run.sh with sizes such as 1920x1080; training/ is on its path. Weights are random: they do not matter for the time.
"""
import sys

import torch

from netpack import networks

WARM_UP, FRAMES = 5, 30

# In FP16 throughout: no layer is taken out, which is PyTorch's fastest.
networks._precise = lambda conv, x: conv(x)


def milliseconds(work, repeat):
    """Median time of `work` on the GPU."""
    times = []
    for i in range(WARM_UP + repeat):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if i >= WARM_UP:
            times.append(start.elapsed_time(end))
    return sorted(times)[len(times) // 2]


def matrix_rate():
    """FLOP/s of a product of large FP16 matrices."""
    n = 8192
    a, b = (torch.randn(n, n, device="cuda", dtype=torch.float16) for _ in range(2))
    return 2 * n**3 / (milliseconds(lambda: a @ b, 20) * 1e-3)


@torch.inference_mode()
def main():
    torch.backends.cudnn.benchmark = True
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}")
    rate = matrix_rate()
    print(f"matrix {rate:.4e} FLOP/s in FP16, 8192x8192")
    net = networks.Full().cuda().half().eval().to(memory_format=torch.channels_last)
    for size in sys.argv[1:]:
        width, height = (int(n) for n in size.split("x"))
        image = torch.rand(1, 3, height, width, device="cuda", dtype=torch.float16)
        image = image.to(memory_format=torch.channels_last)
        ratio = torch.full((1, 1, 1, 1), 4.0, device="cuda", dtype=torch.float16)
        for name in ("eager", "compiled"):
            try:
                run = net if name == "eager" else torch.compile(net, mode="max-autotune")
                ms = milliseconds(lambda: run(image, ratio), FRAMES)
                print(f"full   {size:<10} {name:<9} {1e3 / ms:10.1f} frames/s {ms:10.2f} ms")
            except Exception as error:  # a size that does not fit, a compiler that is absent
                print(f"full   {size:<10} {name:<9} not measured: {type(error).__name__}: {str(error).splitlines()[0]}")
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
