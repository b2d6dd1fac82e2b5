#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "io/image.h"
#include "io/pil_resize.h"

// What Pillow's ImageOps, ImageEnhance, Image.rotate and Image.transform make of an 8-bit RGB picture, to the
// byte. All throw Error for a picture whose bytes do not fit its size, or that has none.
namespace locant {

/// ITU-R 601 luma in 16-bit fixed point, as convert("L"): (19595 r + 38470 g + 7471 b + 2^15) >> 16.
std::vector<std::uint8_t> pil_luma(const Image& image);
/// The luma as a picture of three equal channels.
Image pil_grey(Image image);

/// Each channel by itself: 255 (v - lowest) / (highest - lowest), cut off; one of a single value stays.
Image pil_autocontrast(Image image);
/// Each channel by itself, to an even histogram h: step = (sum h - h[highest]) / 255, value v becomes
/// (step / 2 + sum of h below v) / step, at most 255; all in integers. Where step is 0 it stays.
Image pil_equalize(Image image);
/// 255 - v
Image pil_invert(Image image);
/// The `bits` (0 to 8) highest bits of each byte; 0 is black.
Image pil_posterize(Image image, int bits);
/// 255 - v where v is at least `threshold` (256: nowhere).
Image pil_solarize(Image image, int threshold);
/// min(v + add, 255) where v is below `threshold` (timm's SolarizeAdd; no operation of Pillow's).
Image pil_solarize_add(Image image, int add, int threshold = 128);

// ImageEnhance: d + factor (v - d) in float32, cut off to 0 ... 255; 1 gives the picture back. d is
/// the luma (saturation).
Image pil_color(Image image, double factor);
/// the mean luma, rounded.
Image pil_contrast(Image image, double factor);
/// black.
Image pil_brightness(Image image, double factor);
/// the picture smoothed by [1 1 1; 1 5 1; 1 1 1] / 13, whose outermost rows and columns are the picture's.
Image pil_sharpness(Image image, double factor);

using Colour = std::array<std::uint8_t, 3>;

/// Output pixel (x, y) is what stands at (a x' + b y' + c, d x' + e y' + f), x' = x + 1/2, y' = y + 1/2, in
/// float64 and cut off to a byte; `fill` where that lies outside the picture. bilinear, or bicubic (Keys'
/// cubic with a = -1, unlike pil_resize's); coordinates beyond the outermost pixels' centres repeat these.
/// Throws Error for another filter.
Image pil_affine(const Image& image, const std::array<double, 6>& abcdef, ResizeFilter filter,
                 const Colour& fill);
/// By `degrees` counter-clockwise about the centre, the size kept; sines rounded to 15 decimals as Pillow's.
Image pil_rotate(const Image& image, double degrees, ResizeFilter filter, const Colour& fill);

/// Left and right exchanged.
Image pil_mirror(Image image);
/// Top and bottom exchanged.
Image pil_flip(Image image);
/// Throws Error for a box that is empty or does not lie in the picture.
Image pil_crop(const Image& image, const ResizeWindow& box);

}  // namespace locant
