// TIFF pictures: grey, RGB and YCbCr of 8 and 16 bits, palettes; what becomes of other kinds stands in
// tiff_reader.cc.
#include <tiff.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "io/depth16.h"
#include "io/image_decoders.h"
#include "io/tiff_reader.h"

namespace locant::image_io {
namespace {

/// Colours that were multiplied by their opacity, the last of `step` samples, are brought back: truncated and
/// clipped, and black where nothing is opaque, as Pillow has it.
template <class T>
void undo_opacity(std::vector<T>& samples, std::size_t step) {
  constexpr std::uint32_t kMost = static_cast<T>(-1);
  for (std::size_t at = 0; at < samples.size(); at += step) {
    const std::uint32_t opacity = samples[at + step - 1];
    for (std::size_t c = 0; c + 1 < step; ++c) {
      const std::uint32_t value = samples[at + c];
      samples[at + c] = opacity == 0 ? T{0} : static_cast<T>(std::min(kMost * value / opacity, kMost));
    }
  }
}

/// Leaves the first `colours` of every `step` samples.
template <class T>
void keep_colours(std::vector<T>& samples, std::size_t step, std::size_t colours) {
  if (step == colours) return;
  std::size_t to = 0;
  for (std::size_t at = 0; at < samples.size(); at += step)
    for (std::size_t c = 0; c < colours; ++c) samples[to++] = samples[at + c];
  samples.resize(to);
}

template <class T, class Table>
void put(const std::vector<T>& samples, int colours, const Table& table, std::vector<std::uint8_t>& rgb) {
  const int copies = colours == 1 ? 3 : 1;
  auto out = rgb.begin();
  for (const T sample : samples)
    for (int copy = 0; copy < copies; ++copy) *out++ = table[sample];
}

/// Bytes of up to eight bits: stretched to 0 .. 255, and turned round where white is zero.
std::array<std::uint8_t, 256> grey_table(const TiffPage& page) {
  std::array<std::uint8_t, 256> table{};
  const int most = (1 << page.bits) - 1;
  for (int v = 0; v <= most; ++v) {
    const int byte = v * 255 / most;
    table[static_cast<std::size_t>(v)] =
        static_cast<std::uint8_t>(page.photometric == PHOTOMETRIC_MINISWHITE ? 255 - byte : byte);
  }
  return table;
}

void read_bytes(const TiffReader& tiff, std::vector<std::uint8_t>& rgb) {
  const TiffPage& page = tiff.page();
  if (page.photometric == PHOTOMETRIC_YCBCR && page.compression != COMPRESSION_JPEG) {
    rgb = tiff.read_as_rgb();
    return;
  }
  const std::size_t step = static_cast<std::size_t>(page.colours) + (page.multiplied ? 1 : 0);
  std::vector<std::uint8_t> samples = tiff.read<std::uint8_t>(static_cast<std::int64_t>(step));
  if (page.photometric == PHOTOMETRIC_PALETTE) {
    const std::vector<std::uint8_t> palette = tiff.palette();
    keep_colours(samples, step, 1);
    for (std::size_t i = 0; i < samples.size(); ++i)
      std::copy_n(palette.begin() + 3 * samples[i], 3, rgb.begin() + static_cast<std::ptrdiff_t>(3 * i));
    return;
  }
  if (page.multiplied && page.bits == 8) undo_opacity(samples, step);
  keep_colours(samples, step, static_cast<std::size_t>(page.colours));
  put(samples, page.colours, grey_table(page), rgb);
}

void read_words(const TiffReader& tiff, Depth16 how, std::vector<std::uint8_t>& rgb) {
  const TiffPage& page = tiff.page();
  const std::size_t step = static_cast<std::size_t>(page.colours) + (page.multiplied ? 1 : 0);
  std::vector<std::uint16_t> samples = tiff.read<std::uint16_t>(static_cast<std::int64_t>(step));
  if (page.multiplied && how == Depth16::high) {
    // Pillow divides the high bytes.
    std::vector<std::uint8_t> bytes(samples.size());
    std::transform(samples.begin(), samples.end(), bytes.begin(),
                   [](std::uint16_t v) { return static_cast<std::uint8_t>(v >> 8); });
    undo_opacity(bytes, step);
    std::transform(bytes.begin(), bytes.end(), samples.begin(),
                   [](std::uint8_t v) { return static_cast<std::uint16_t>(v << 8); });
  } else if (page.multiplied) {
    undo_opacity(samples, step);
  }
  keep_colours(samples, step, static_cast<std::size_t>(page.colours));
  if (page.photometric == PHOTOMETRIC_MINISWHITE)
    for (std::uint16_t& sample : samples) sample = static_cast<std::uint16_t>(65535 - sample);
  put(samples, page.colours, depth16_table(samples, how), rgb);
}

}  // namespace

Decoded decode_tiff(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const TiffReader tiff(bytes, name, options);
  tiff.require_readable(false);
  const TiffPage& page = tiff.page();
  Decoded decoded;
  decoded.image = make_image(page.rows, page.columns);
  if (page.bits == 16) {
    read_words(tiff, options.depth16, decoded.image.rgb);
    note_dark(decoded.image, name, options);
  } else {
    read_bytes(tiff, decoded.image.rgb);
  }
  decoded.orientation = page.orientation;
  return decoded;
}

}  // namespace locant::image_io
