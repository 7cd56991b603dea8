"""Batches where the network is: made one by one here, or by worker processes for a GPU that is faster than they are."""
import queue
import threading

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

CHUNK = 8        # samples that a worker hands on at once


def direct(samples, options, device):
    """Every batch fresh, made while the network waits."""
    while True:
        yield [torch.from_numpy(x).to(device) for x in samples.batch(options["batch"], options["patch"])]


class Stream(IterableDataset):
    def __init__(self, samples, patch, seed):
        self.samples, self.patch, self.seed = samples, patch, seed

    def __iter__(self):
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        self.samples.rng = np.random.default_rng([self.seed, get_worker_info().id])
        while True:
            # Half precision tells the codes of 8 bits apart.
            yield [torch.from_numpy(x).half() for x in self.samples.batch(CHUNK, self.patch)]


def turned(x, turn):
    """One of the eight ways to lay a square down."""
    x = torch.rot90(x, turn % 4, (2, 3))
    return x.flip(3) if turn >= 4 else x


class Pool:
    """`options["pool"]` samples on the device, which workers replace from the oldest on; batches are drawn from it.

    A GPU takes more samples than processors make: each is seen several times, turned otherwise. `reuse` tells how often.
    """

    def __init__(self, samples, options, workers, device, seed):
        if options["pool"] < max(options["batch"], CHUNK):
            raise ValueError(f"a pool of {options['pool']} samples holds no batch of {options['batch']}: raise `pool`")
        self.options, self.device = options, device
        self.rows, self.count, self.next, self.made, self.taken = None, 0, 0, 0, 0
        loader = DataLoader(Stream(samples, options["patch"], seed), batch_size=None, num_workers=workers, prefetch_factor=4)
        self.arrived, self.failed = queue.Queue(64), None
        threading.Thread(target=self._receive, args=(loader,), daemon=True).start()

    def _receive(self, loader):
        try:
            for chunk in loader:
                self.arrived.put(chunk)
        except Exception as error:
            self.failed = error
            self.arrived.put(None)

    def _store(self, chunk):
        if chunk is None:
            raise RuntimeError("a worker that makes samples ended") from self.failed
        size = self.options["pool"]
        if self.rows is None:
            self.rows = [torch.empty(size, *x.shape[1:], dtype=x.dtype, device=self.device) for x in chunk]
        places = (torch.arange(CHUNK) + self.next) % size
        for row, x in zip(self.rows, chunk):
            row[places.to(self.device)] = x.to(self.device, non_blocking=True)
        self.next, self.made = (self.next + CHUNK) % size, self.made + CHUNK
        self.count = min(size, self.count + CHUNK)

    @property
    def reuse(self):
        return self.taken / max(self.made, 1)

    def __iter__(self):
        batch = self.options["batch"]
        while True:
            # What has arrived, but not more than is taken: copies hold the GPU up. At the start as much as makes every
            # sample of a few batches another one.
            for _ in range(batch // CHUNK + 1):
                if not self.arrived.empty():
                    self._store(self.arrived.get())
            while self.count < min(4 * batch, self.options["pool"]):
                self._store(self.arrived.get())
            self.taken += batch
            chosen = torch.randint(self.count, (batch,), device=self.device)
            dark, ratio, target, itself, *seen = (row[chosen].float() for row in self.rows)
            turn = int(torch.randint(8, ()))
            dark, target, itself = (turned(x, turn).contiguous(memory_format=torch.channels_last)
                                    for x in (dark, target, itself))
            yield [dark, ratio, target, itself, *seen]


def batches(samples, options, workers, device, seed):
    """-> an iterable of batches as `Samples.batch` gives them, on the device."""
    return Pool(samples, options, workers, device, seed) if workers else direct(samples, options, device)
