// Masks in TIFF: whole numbers of any width, floating point that holds such, palette indices or colours.
#include <tiff.h>

#include <bit>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "io/label_decoders.h"
#include "io/tiff_reader.h"

namespace locant::image_io {
namespace {

constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();

/// A number of the page's format from its bits.
template <class T>
std::uint32_t label_of(T bits, int format, const std::string& name) {
  if (format == SAMPLEFORMAT_INT) {
    const auto value = static_cast<std::int64_t>(static_cast<std::make_signed_t<T>>(bits));
    require(value >= 0 && value <= std::int64_t{kMost}, "image", "{}: a label of {}: 0 to {} is allowed",
            name, value, kMost);
    return static_cast<std::uint32_t>(value);
  }
  if constexpr (sizeof(T) >= 4) {
    if (format == SAMPLEFORMAT_IEEEFP) {
      using Real = std::conditional_t<sizeof(T) == 4, float, double>;
      const double value = std::bit_cast<Real>(bits);
      require(value >= 0 && value <= kMost && value == std::floor(value), "image",
              "{}: a label of {}: whole numbers from 0 to {} are allowed", name, value, kMost);
      return static_cast<std::uint32_t>(value);
    }
  }
  require(bits <= kMost, "image", "{}: a label of {}: 0 to {} is allowed", name, bits, kMost);
  return static_cast<std::uint32_t>(bits);
}

template <class T>
void read_numbers(const TiffReader& tiff, const std::string& name, std::vector<std::uint32_t>& values) {
  const TiffPage& page = tiff.page();
  const std::size_t step = page.alpha ? 2 : 1;
  const std::vector<T> samples = tiff.read<T>(static_cast<std::int64_t>(step));
  values.resize(samples.size() / step);
  const bool turned = page.photometric == PHOTOMETRIC_MINISWHITE && page.bits == 1;
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = label_of(samples[i * step], page.format, name);
    if (turned) values[i] = 1 - values[i];
    if (page.alpha && samples[i * step + 1] == 0) values[i] = 0;
  }
  if (page.photometric == PHOTOMETRIC_PALETTE) settle_palette(tiff.palette(), values);
}

template <class T>
void read_colours(const TiffReader& tiff, std::vector<std::uint32_t>& values) {
  const bool alpha = tiff.page().alpha;
  const std::size_t step = alpha ? 4 : 3;
  const std::vector<T> samples = tiff.read<T>(static_cast<std::int64_t>(step));
  values = colour_labels(std::vector<std::uint16_t>(samples.begin(), samples.end()), step, sizeof(T) == 2);
  for (std::size_t i = 0; i < values.size() && alpha; ++i)
    if (samples[i * step + 3] == 0) values[i] = 0;
}

}  // namespace

DecodedLabels decode_tiff_labels(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const TiffReader tiff(bytes, name, options);
  tiff.require_readable(true);
  const TiffPage& page = tiff.page();
  DecodedLabels decoded;
  decoded.orientation = page.orientation;
  decoded.labels = {page.rows, page.columns, {}};
  std::vector<std::uint32_t>& values = decoded.labels.values;
  if (page.photometric == PHOTOMETRIC_RGB) {
    page.bits == 16 ? read_colours<std::uint16_t>(tiff, values) : read_colours<std::uint8_t>(tiff, values);
  } else if (page.bits <= 8) {
    read_numbers<std::uint8_t>(tiff, name, values);
  } else if (page.bits == 16) {
    read_numbers<std::uint16_t>(tiff, name, values);
  } else if (page.bits == 32) {
    read_numbers<std::uint32_t>(tiff, name, values);
  } else {
    read_numbers<std::uint64_t>(tiff, name, values);
  }
  return decoded;
}

}  // namespace locant::image_io
