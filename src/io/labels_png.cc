// Masks in PNG: numbers, palette indices or colours, as stored.
#include <algorithm>

#include "io/label_decoders.h"
#include "io/png_reader.h"

namespace locant::image_io {
namespace {

/// (rows, columns, step), widened from bytes where the file has up to 8 bits.
std::vector<std::uint16_t> stored_samples(PngReader& png, std::size_t step) {
  std::vector<std::uint16_t> out(static_cast<std::size_t>(png.rows() * png.columns()) * step);
  if (png.depth() == 16) {
    png.read(PngReader::Form::stored, out.data());
    return out;
  }
  std::vector<std::uint8_t> bytes(out.size());
  png.read(PngReader::Form::stored, bytes.data());
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

/// Is the pixel wholly transparent? `at`: its samples.
bool is_clear(const PngReader& png, const std::uint16_t* at, std::size_t step) {
  if (png.alpha()) return at[step - 1] == 0;
  if (png.kind() == PngReader::Kind::palette)
    return at[0] < png.opacity().size() && png.opacity()[at[0]] == 0;
  const std::vector<std::uint16_t>& clear = png.clear_colour();
  return !clear.empty() && std::equal(clear.begin(), clear.end(), at);
}

}  // namespace

DecodedLabels decode_png_labels(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  PngReader png(bytes, name, options.max_pixels);
  const std::size_t step = (png.kind() == PngReader::Kind::rgb ? 3 : 1) + (png.alpha() ? 1 : 0);
  const std::vector<std::uint16_t> samples = stored_samples(png, step);
  DecodedLabels decoded;
  decoded.orientation = png.orientation();
  decoded.labels = {png.rows(), png.columns(), {}};
  std::vector<std::uint32_t>& values = decoded.labels.values;
  if (png.kind() == PngReader::Kind::rgb) {
    values = colour_labels(samples, step, png.depth() == 16);
  } else {
    values.resize(samples.size() / step);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = samples[i * step];
  }
  if (png.kind() == PngReader::Kind::palette) settle_palette(png.palette(), values);
  for (std::size_t i = 0; i < values.size(); ++i)
    if (is_clear(png, samples.data() + i * step, step)) values[i] = 0;
  return decoded;
}

}  // namespace locant::image_io
