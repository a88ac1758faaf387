"""Where the features that images are compared in come from: a classifier, or ImageNet.

The study's own classifier sees what the study is about, but was fitted to its training images. A
network trained on ImageNet knows none of them; it sees what photographs have in common, which may
be little of a small or grey picture. Every figure carries the extractor's name.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from synthtrial.classify.efficientnet import SMALLEST, as_trained, imagenet_network
from synthtrial.classify.hooks import last_linear
from synthtrial.classify.rows import normalise
from synthtrial.errors import ConfigError, DataError, TrainingError

#: Pixels that EfficientNet-Lite0 gets to see; it was trained at 224.
SIZE = 128
_PIXELS = 2**20  # that it gets to see at once; it needs about 500 bytes for each


class Extractor(nn.Module):
    """From images in [-1, 1], x_BCHW, to features_BF and the study's logits_BK, or None.

    Attributes:
        name: as figures carry it.
    """

    name: str

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return features_BF, and logits_BK or None."""
        raise NotImplementedError


class Penultimate(Extractor):
    """What enters the last linear layer of a classifier, and its logits, in one pass.

    Args:
        model: from x_BCHW to logits_BK.
        name: as figures carry it.
    """

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model = model
        self.name = name

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features_BF and logits_BK.

        Raises:
            TrainingError: the last linear layer to run is none that ends a classifier.
        """
        with last_linear(self.model) as seen:
            logits_BK = self.model(x_BCHW)
        if not seen:
            raise TrainingError(f"{self.name}: no linear layer ran; {_advice()}")
        layer, features_BF = seen[0]
        if features_BF.ndim != 2 or logits_BK.shape != (len(x_BCHW), layer.out_features):
            raise TrainingError(
                f"{self.name}: the last linear layer maps {tuple(features_BF.shape)} to "
                f"{layer.out_features} numbers, and the classifier returns "
                f"{tuple(logits_BK.shape)}; {_advice()}"
            )
        return features_BF, logits_BK


class EfficientNetLite0(Extractor):
    """The 1280 pooled features of EfficientNet-Lite0 (Liu 2020, after Tan & Le 2019).

    Images are resized (bilinear, antialiased) to ``size`` x ``size`` pixels, grey ones repeated
    for red, green and blue, and scaled as in training: (value - 127) / 128 of values up to 255.

    Args:
        network: with its weights.
        size: height and width in pixels of what it gets to see.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.size = size
        self.name = f"efficientnet_lite0@{size}"
        self.penultimate = Penultimate(network, self.name)

    def forward(self, x_BCHW: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return features_BF; its logits are of ImageNet's classes, not of the study's."""
        parts = torch.split(x_BCHW, max(1, _PIXELS // self.size**2))
        return torch.cat([self.penultimate(self.prepare(x))[0] for x in parts]), None

    def prepare(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return images in [-1, 1] as the network wants them.

        Raises:
            DataError: images are neither grey nor RGB.
        """
        if x_BCHW.shape[1] not in (1, 3):
            raise DataError(
                f"{self.name}: images have {x_BCHW.shape[1]} channels; allowed: 1 (grey), 3 (RGB)"
            )
        sides = (self.size, self.size)
        x_BCSS = F.interpolate(x_BCHW, size=sides, mode="bilinear", antialias=True)
        return as_trained(x_BCSS)


def penultimate(model: nn.Module, name: str = "penultimate") -> Penultimate:
    """Return an extractor of what enters a classifier's last linear layer.

    That is the last one to run. Nothing in the model is changed.

    Args:
        model: from x_BCHW to logits_BK.
        name: as figures carry it; say which classifier it is.

    Raises:
        TrainingError: it has no linear layer.
    """
    if not any(isinstance(layer, nn.Linear) for layer in model.modules()):
        raise TrainingError(f"{name}: {type(model).__name__} has no linear layer; {_advice()}")
    return Penultimate(model, name)


def efficientnet_lite0(size: int = SIZE) -> EfficientNetLite0:
    """Return EfficientNet-Lite0 as trained on ImageNet, whose weights come with a package.

    It was trained at 224 pixels. Larger sizes tell finer differences and take longer. Measured on
    one core, with the kernel distance between real pictures and slightly blurred ones in standard
    deviations of that between two halves of the real ones (500 digits of 8x8 pixels, 300 patches
    of 64x64 from two photographs):

    ====  ========  ======  =======
    size  ms/image  digits  patches
    ====  ========  ======  =======
      96         4     540       12
     128         7     770       16
     160        15     920       25
     224        34    1760       40
    ====  ========  ======  =======

    Noise in place of blur is told best at 128 in the digits (126, against 68 at 224), and at 224
    in the patches. The default takes a fifth of the time of 224; give that for large images, or
    where there is a GPU.

    Args:
        size: height and width in pixels of what it gets to see; part of its name.

    Raises:
        ConfigError: its packages are not installed or not those expected, or the size is too small.
    """
    if size < SMALLEST:
        raise ConfigError(f"efficientnet_lite0: size is {size}; allowed: {SMALLEST} or more")
    network = imagenet_network(size)
    extractor = EfficientNetLite0(network, size)
    extractor.requires_grad_(requires_grad=False)
    return extractor.eval()


def extract(
    extractor: Extractor, images_NCHW: NDArray[np.uint8], batch: int = 256
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Compute the features of images where the extractor is, which is put in evaluation mode.

    Args:
        extractor: from :func:`penultimate` or :func:`efficientnet_lite0`.
        images_NCHW: uint8, memory-mapped or not.
        batch: images at a time.

    Returns:
        features_NF, and logits_NK where the extractor is a classifier of the study, else None.

    Raises:
        DataError: there are no images, or they are no uint8 arrays of four dimensions.
    """
    if images_NCHW.ndim != 4 or images_NCHW.dtype != np.uint8 or not len(images_NCHW):
        raise DataError(
            f"cannot compute features of images of shape {images_NCHW.shape} and type "
            f"{images_NCHW.dtype}; give one or more as uint8, (images, channels, height, width)"
        )
    if batch < 1:
        raise DataError(f"batch is {batch}; allowed: 1 or more")
    device = next((p.device for p in extractor.parameters()), torch.device("cpu"))
    extractor.eval()
    features, logits = [], []
    cudnn = torch.backends.cudnn  # the same figures as on a processor, up to float32
    exact = cudnn.flags(enabled=cudnn.enabled, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for start in range(0, len(images_NCHW), batch):
            pixels = np.ascontiguousarray(images_NCHW[start : start + batch])
            features_BF, logits_BK = extractor(normalise(torch.tensor(pixels, device=device)))
            features.append(features_BF.float().cpu())
            if logits_BK is not None:
                logits.append(logits_BK.float().cpu())
    return torch.cat(features).numpy(), torch.cat(logits).numpy() if logits else None


def _advice() -> str:
    return "use a classifier that ends in nn.Linear, or efficientnet_lite0"
