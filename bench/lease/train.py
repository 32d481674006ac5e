"""Training on a GPU that is borrowed for a quarter of an hour: no second of it idle, nothing in a step waits for it.

usage: python3 -P train.py WORK [options]

WORK/data/*.tar     shards; more may come at any time (as NAME.tmp, then renamed)
WORK/val/           validation pictures, measured once at the end; may be missing
WORK/deadline       seconds since 1970 by which all is done; read again every 10 steps, so it may be moved
WORK/out/           log.csv, validation.csv, summary.txt, state.safetensors (`train --init`), run/decay.pt (`export`)
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from aecodec.coding.prior import ANCHORS
from aecodec.networks.config import CONFIGS
from aecodec.networks.layers import Pointwise
from aecodec.train import Budget, TrainConfig
from aecodec.train.data import SIDE, load_squares
from aecodec.train.export import restore
from aecodec.train.objective import Outcome, RateDistortion
from aecodec.train.soap import BatchedSOAP
from aecodec.train.validation import Validation

SCALES = 16  # of downscaling: few, so that kernels are made once


class Feed:
    """All squares so far, on the device; a thread decodes shards as they come."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.folder, self.device = folder, device
        self.names: list[str] = []  # of the shards that are trained on
        self.ready: list[tuple[str, Tensor]] = []
        self.squares: Tensor | None = None
        threading.Thread(target=self._watch, daemon=True).start()
        while self.squares is None:
            self.poll()
            time.sleep(0.2)

    def poll(self) -> None:
        while self.ready:
            name, new = self.ready.pop(0)
            try:
                new = new.to(self.device)
                self.squares = new if self.squares is None else torch.cat((self.squares, new))
            except RuntimeError as error:  # memory of the device
                tell(f"shard {name} cannot be used: {str(error)[:300]}")
                continue
            self.names.append(name)
            tell(f"{len(self.squares)} squares of {', '.join(self.names)}")

    def crops(self, batch: int, patch: int) -> Tensor:
        """[batch, 3, patch, patch] in 0..1, drawn on the device: what random_crops of the package gives."""
        assert self.squares is not None
        d = self.device
        scale = 1 + (min(2.0, SIDE / patch) - 1) * torch.randint(SCALES + 1, ()).item() / SCALES
        side = int(patch * scale)
        picture = torch.randint(len(self.squares), (batch,), device=d)
        top, left = (torch.randint(SIDE - side + 1, (batch, 1), device=d) for _ in range(2))
        steps = torch.arange(side, device=d)
        columns = torch.where(torch.rand(batch, 1, device=d) < 0.5, (left + steps).flip(1), left + steps)
        x = self.squares[picture[:, None, None], :, (top + steps)[:, :, None], columns[:, None, :]]
        x = x.permute(0, 3, 1, 2).float().div_(255)
        x = x if side == patch else F.interpolate(x, (patch, patch), mode="bilinear", antialias=True)
        return x.contiguous(memory_format=torch.channels_last)

    def _watch(self) -> None:
        seen = set()
        while True:
            for path in sorted(self.folder.glob("*.tar")):
                if path.name not in seen:
                    seen.add(path.name)
                    try:
                        self.ready.append((path.name, load_squares([path], quiet=True)))
                    except Exception as error:  # one shard must not cost the rest of the time
                        tell(f"shard {path.name} cannot be used: {error}")
            time.sleep(1)


class Run:
    """Model, optimizers and what is written of them."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        self.options, self.device = options, device
        self.out = options.work / "out"
        (self.out / "run").mkdir(parents=True, exist_ok=True)
        model = RateDistortion(CONFIGS[options.model])
        if options.init:
            restore(model, options.init)
        model.prior.bottleneck.quantiles.requires_grad_(requires_grad=False)
        self.model = model.to(device).train()
        self.forward = self.model if options.eager else torch.compile(self.model, dynamic=False)
        self.matrices = [module.weight for module in self.model.modules() if isinstance(module, Pointwise)]
        known = {id(weight) for weight in self.matrices}
        self.others = [p for p in self.model.parameters() if p.requires_grad and id(p) not in known]
        self.anchors = torch.arange(options.batch, device=device) % ANCHORS
        self.lr = options.lr
        self.begin()

    def begin(self) -> None:
        """New optimizers, from the weights as they are."""
        self.soap = BatchedSOAP(self.matrices, lr=self.lr, every=self.options.every)
        self.adam = torch.optim.AdamW(
            self.others, lr=self.lr, betas=(0.9, 0.99), weight_decay=0.0, fused=self.device.type == "cuda"
        )
        self.good = {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def gradients(self, feed: Feed) -> tuple[Outcome, Tensor]:
        """Of one batch, cut to norm 1 without waiting for what the norm is."""
        batch = self.options.batch
        x = feed.crops(batch, self.options.patch)
        position = (self.anchors + torch.rand(batch, device=self.device) - 0.5).clamp(0, ANCHORS - 1)
        with torch.autocast(self.device.type, torch.bfloat16):
            outcome: Outcome = self.forward(x, position)
        parameters = [*self.matrices, *self.others]
        for parameter in parameters:
            parameter.grad = None
        outcome.loss.mean().backward()
        found = [p.grad for p in parameters if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(found)))
        torch._foreach_mul_(found, (1.0 / (norm + 1e-6)).clamp(max=1.0))
        return outcome, norm

    def step(self, feed: Feed, factor: float) -> tuple[Outcome, Tensor]:
        outcome, norm = self.gradients(feed)
        for optimizer in (self.soap, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = self.lr * factor
            optimizer.step()
        return outcome, norm

    def back(self) -> None:
        """To the last good weights, with half the learning rate."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.good[name])
        self.lr /= 2
        self.begin()

    def write(self, step: int, seconds: float, data: list[str]) -> None:
        """What export and --init take. Weights that are not finite, which is looked for now and then, are no use."""
        options = self.options
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            tell(f"not finite at step {step}: back to the last good weights, half the rate")
            self.back()
        lmbdas = json.dumps(self.model.autoencoder.config.lmbdas)
        tensors = {name: p.detach().float().cpu().contiguous() for name, p in self.model.named_parameters()}
        save_file(tensors, self.out / "state.tmp", {"lmbdas": lmbdas})
        os.replace(self.out / "state.tmp", self.out / "state.safetensors")
        config = TrainConfig(model=options.model, batch=options.batch, patch=options.patch, lr=options.lr)
        checkpoint = {
            "config": asdict(config),
            "budget": asdict(Budget(minutes=seconds / 60, decay=1 - options.flat)),
            "origin": [{"command": "bench/lease/train.py", "data": data}],
            "model": {name: tensor.cpu() for name, tensor in self.model.state_dict().items()},
            "optimizers": [],
            "step": step,
            "seconds": seconds,
        }
        torch.save(checkpoint, self.out / "run" / "decay.tmp")
        os.replace(self.out / "run" / "decay.tmp", self.out / "run" / "decay.pt")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--model", default="m")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--flat", type=float, default=0.5)
    parser.add_argument("--every", type=int, default=50, help="steps between changes of SOAP's basis")
    parser.add_argument("--reserve", type=float, default=45.0, help="seconds at the end for validation and writing")
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    (options.work / "pid").write_text(str(os.getpid()))
    torch.manual_seed(0)
    device = torch.device(options.device)
    torch.backends.cudnn.benchmark = True
    run = Run(options, device)
    feed = Feed(options.work / "data", device)
    try:
        began = time.time()
        run.gradients(feed)
        tell(f"first step after {time.time() - began:.0f} s")
    except Exception as error:  # a kernel that cannot be built must not cost the rest of the time
        tell(f"compiled step failed, going on without: {str(error)[:300]}")
        run.forward = run.model
    train(run, feed)


def train(run: Run, feed: Feed) -> None:
    options, deadline = run.options, run.options.work / "deadline"
    start = since = written = time.time()
    step = measured = 0
    end = float(deadline.read_text()) - options.reserve
    with (run.out / "log.csv").open("a") as log:
        log.write("step,seconds,lr,loss,bpp,z_bpp,psnr,z_max,norm,mpx_per_s\n")
        while True:
            now = time.time()
            if step % 10 == 0:
                end = read_deadline(deadline, end + options.reserve) - options.reserve
                feed.poll()
            if now >= end:
                break
            progress = (now - start) / max(1.0, end - start)
            factor = min(1.0, (step + 1) / options.warmup, max(0.0, (1 - progress) / (1 - options.flat)))
            outcome, norm = run.step(feed, factor)
            step, measured = step + 1, measured + 1
            if step % 25 == 0:
                mpx = measured * options.batch * options.patch**2 / (time.time() - since) / 1e6
                since, measured = time.time(), 0
                figures = [outcome.loss.mean(), (outcome.y_bpp + outcome.z_bpp).mean(), outcome.z_bpp.mean()]
                figures += [-10 * outcome.mse.log10().mean(), outcome.z_max.max(), norm]
                values = torch.stack([figure.detach().float() for figure in figures]).tolist()  # waits for the GPU
                log.write(f"{step},{now - start:.1f},{run.lr * factor:.3g}," + ",".join(f"{v:.5g}" for v in values))
                log.write(f",{mpx:.1f}\n")
                log.flush()
                if step % 100 == 0:
                    loss, bpp, _, psnr, _, length = values
                    told = f"loss {loss:.4f} bpp {bpp:.3f} psnr {psnr:.2f} norm {length:.2f}"
                    tell(f"step {step} {progress:.0%} {told} {mpx:.1f} Mpx/s")
                if not all(map(math.isfinite, values)):
                    tell(f"not finite at step {step}: back to the last good weights, half the rate")
                    run.back()
                elif step % 200 == 0:
                    run.good = {name: p.detach().clone() for name, p in run.model.named_parameters()}
            if time.time() - written > 60:
                run.write(step, now - start, feed.names)
                written = time.time()
    seconds = time.time() - start
    run.write(step, seconds, feed.names)
    rate = math.nan
    if (options.work / "val").exists():
        with torch.no_grad():
            rate = Validation(options.work / "val", run.out, run.device).measure(run.model, step, seconds)
    pixels = step * options.batch * options.patch**2 / 1e9
    summary = f"{step} steps of {options.batch} x {options.patch}^2, {pixels:.3g} Gpx in {seconds:.0f} s"
    summary += f", validation BD-rate {rate:.2f} %, shards {', '.join(feed.names)}"
    (run.out / "summary.txt").write_text(summary + "\n")
    tell(summary)
    (options.work / "DONE").touch()


def read_deadline(path: Path, before: float) -> float:
    """What the file says; what it said before where somebody is just writing it."""
    try:
        return float(path.read_text())
    except (OSError, ValueError):
        return before


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
