#pragma once

#include "core/rng.h"
#include "io/image.h"

namespace locant {

/// Brightness, contrast and saturation (Pillow's ImageEnhance), each by a factor of
/// U(max(0, 1 - amount), 1 + amount), one after the other in a random order: torchvision's ColorJitter of
/// three equal amounts, without hue.
Image color_jitter(Image image, double amount, Rng& rng);

}  // namespace locant
