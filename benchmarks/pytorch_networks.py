"""The three networks in plain PyTorch, as in the report's own program: the baselines of `benchmarks.models`.

They are written from the report's description, layer by layer; the package does not use them. DynamicConv2d has both of
its usual implementations: mix outputs (K convolutions in parallel), as in the report, and mix kernels by one grouped
convolution with each sample's own mixture, as in public dynamic-convolution code.
"""

import torch
from torch import nn
from torch.nn import functional

KERNELS, TEMPERATURE = 4, 30.0


class DynamicConv2d(nn.Module):
  """K kernels mixed by attention; `implementation` is 'parallel' (mix outputs) or 'grouped' (mix kernels)."""

  def __init__(self, channels: int, features: int, kernel_size: int, stride: int, implementation: str):
    super().__init__()
    self.stride, self.padding, self.implementation = stride, kernel_size // 2, implementation
    self.kernels = nn.Parameter(torch.empty(KERNELS, features, channels, kernel_size, kernel_size))
    for kernel in self.kernels:
      nn.init.kaiming_normal_(kernel)
    hidden = max(channels // 4, 1)
    self.squeeze = nn.Conv2d(channels, hidden, 1, bias=False)
    self.expand = nn.Conv2d(hidden, KERNELS, 1, bias=False)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    average = functional.adaptive_avg_pool2d(x, 1)
    logits = self.expand(functional.relu(self.squeeze(average)))
    attention = functional.softmax(logits.flatten(1) / TEMPERATURE, dim=1)  # (B, K)
    if self.implementation == 'parallel':
      outputs = [functional.conv2d(x, kernel, stride=self.stride, padding=self.padding) for kernel in self.kernels]
      return sum(attention[:, k, None, None, None] * output for k, output in enumerate(outputs))
    batch, channels, height, width = x.shape
    mixed = attention @ self.kernels.flatten(1)  # (B, features * channels * k * k)
    mixed = mixed.view(-1, channels, *self.kernels.shape[3:])  # (B * features, channels, k, k)
    output = functional.conv2d(x.reshape(1, batch * channels, height, width), mixed, stride=self.stride,
                               padding=self.padding, groups=batch)
    return output.view(batch, -1, *output.shape[2:])


class DynamicResBlock(nn.Module):
  """Two dynamic 3x3 convolutions and a shortcut."""

  def __init__(self, channels: int, features: int, stride: int, implementation: str):
    super().__init__()
    self.conv1, self.norm1 = DynamicConv2d(channels, features, 3, stride, implementation), nn.BatchNorm2d(features)
    self.conv2, self.norm2 = DynamicConv2d(features, features, 3, 1, implementation), nn.BatchNorm2d(features)
    self.shortcut = nn.Identity()
    if stride != 1 or channels != features:
      self.shortcut = nn.Sequential(DynamicConv2d(channels, features, 1, stride, implementation),
                                    nn.BatchNorm2d(features))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = functional.relu(self.norm1(self.conv1(x)))
    return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class DynamicResNet12(nn.Module):
  """A stem and three stages of three blocks."""

  def __init__(self, classes: int, implementation: str):
    super().__init__()
    self.stem, self.norm = DynamicConv2d(3, 64, 3, 1, implementation), nn.BatchNorm2d(64)
    blocks, channels = [], 64
    for features in (64, 128, 256):
      for stride in (2, 1, 1):
        blocks.append(DynamicResBlock(channels, features, stride, implementation))
        channels = features
    self.blocks, self.classifier = nn.Sequential(*blocks), nn.Linear(channels, classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = functional.max_pool2d(functional.relu(self.norm(self.stem(x))), 2)
    return self.classifier(functional.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1))


class SqueezeExcite(nn.Module):
  """Squeeze-and-excitation: scales the channels by gates computed from the whole map."""

  def __init__(self, channels: int):
    super().__init__()
    self.squeeze, self.excite = nn.Linear(channels, channels // 16), nn.Linear(channels // 16, channels)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    average = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(average))))
    return x * gate[:, :, None, None]


class WideStage(nn.Module):
  """A convolution with a shortcut, ReLU, squeeze-and-excitation."""

  def __init__(self, channels: int, features: int, kernel_size: int):
    super().__init__()
    self.conv = nn.Conv2d(channels, features, kernel_size, 2, kernel_size // 2, bias=False)
    self.norm = nn.BatchNorm2d(features)
    self.shortcut = nn.Sequential(nn.Conv2d(channels, features, 1, 2, bias=False), nn.BatchNorm2d(features))
    self.gate = SqueezeExcite(features)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.gate(functional.relu(self.norm(self.conv(x)) + self.shortcut(x)))


class WideCNN4(nn.Module):
  """Four wide stages."""

  def __init__(self, classes: int):
    super().__init__()
    self.stages = nn.Sequential(WideStage(3, 256, 7), *(WideStage(256, 256, 3) for _ in range(3)))
    self.classifier = nn.Linear(256, classes)

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    return self.classifier(functional.adaptive_avg_pool2d(self.stages(x), 1).flatten(1))


class ResBlock(nn.Module):
  """Two 3x3 convolutions and a shortcut."""

  def __init__(self, channels: int, features: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
    self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
    self.bn1, self.bn2 = nn.BatchNorm2d(features), nn.BatchNorm2d(features)
    self.downsample = nn.Identity()
    if stride != 1 or channels != features:
      self.downsample = nn.Sequential(nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = functional.relu(self.bn1(self.conv1(x)))
    return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet34(nn.Module):
  """The standard network, with the module names of torchvision and timm."""

  def __init__(self, classes: int):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
    self.layer1, self.layer2 = self.layer(64, 64, 3, 1), self.layer(64, 128, 4, 2)
    self.layer3, self.layer4 = self.layer(128, 256, 6, 2), self.layer(256, 512, 3, 2)
    self.fc = nn.Linear(512, classes)

  @staticmethod
  def layer(channels: int, features: int, number: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ResBlock(channels, features, stride), *(ResBlock(features, features, 1)
                                                                 for _ in range(number - 1)))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
    x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
    return self.fc(functional.adaptive_avg_pool2d(x, 1).flatten(1))


def create(network: str, implementation: str, classes: int = 100) -> nn.Module:
  """The network by our name; `implementation` only affects the dynamic one."""
  if network == 'dynamic_resnet12':
    return DynamicResNet12(classes, implementation)
  return {'wide_cnn': WideCNN4, 'resnet34': ResNet34}[network](classes)
