// Binary PPM and PGM (P6, P5): a header of three numbers, then rows of one- or two-byte samples.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/image_decoders.h"

namespace locant::image_io {
namespace {

struct Header {
  std::int64_t columns = 0;
  std::int64_t rows = 0;
  std::int64_t max_value = 0;
  std::size_t data = 0;  // offset of the first sample
};

bool is_space(std::uint8_t byte) { return byte == ' ' || (byte >= '\t' && byte <= '\r'); }

/// The next decimal number from `at` on; white space and comments (# to the end of the line) come before it.
std::int64_t read_number(Bytes bytes, std::size_t& at, const std::string& name, const char* what) {
  while (at < bytes.size() && (is_space(bytes[at]) || bytes[at] == '#')) {
    if (bytes[at] == '#') {
      while (at < bytes.size() && bytes[at] != '\n' && bytes[at] != '\r') ++at;
    } else {
      ++at;
    }
  }
  constexpr std::int64_t kLargest = 1'000'000'000;
  std::int64_t value = 0;
  const std::size_t first = at;
  while (at < bytes.size() && bytes[at] >= '0' && bytes[at] <= '9') {
    value = std::min<std::int64_t>(10 * value + (bytes[at++] - '0'), kLargest);
  }
  require(at > first && at < bytes.size(), "image", "{}: broken PPM header: no {} at byte {}", name, what,
          first);
  return value;
}

Header read_header(Bytes bytes, const std::string& name) {
  std::size_t at = 2;
  require(bytes.size() > at && (is_space(bytes[at]) || bytes[at] == '#'), "image",
          "{}: broken PPM header: no white space after its first two letters", name);
  Header header;
  header.columns = read_number(bytes, at, name, "width");
  header.rows = read_number(bytes, at, name, "height");
  header.max_value = read_number(bytes, at, name, "largest value");
  require(is_space(bytes[at]), "image", "{}: broken PPM header: no white space before the samples (byte {})",
          name, at);
  header.data = at + 1;
  require(header.max_value >= 1 && header.max_value <= 65535, "image",
          "{}: PPM with largest value {}: 1 to 65535 is allowed", name, header.max_value);
  return header;
}

/// Sample to byte: round(255 v / max_value), ties to even as Pillow does.
std::vector<std::uint8_t> scale_table(std::int64_t max_value) {
  std::vector<std::uint8_t> table(max_value < 256 ? 256 : 65536);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const double value = static_cast<double>(std::min(static_cast<std::int64_t>(i), max_value));
    table[i] = static_cast<std::uint8_t>(std::lrint(value / static_cast<double>(max_value) * 255.0));
  }
  return table;
}

}  // namespace

Decoded decode_ppm(Bytes bytes, const std::string& name, std::int64_t max_pixels) {
  const Header header = read_header(bytes, name);
  const std::int64_t channels = bytes[1] == '6' ? 3 : 1;
  const std::int64_t width = header.max_value < 256 ? 1 : 2;
  check_size(header.rows, header.columns, name, max_pixels);
  const std::int64_t samples = header.rows * header.columns * channels;
  const auto available = static_cast<std::int64_t>(bytes.size() - header.data);
  require(samples * width <= available, "image",
          "{}: truncated PPM: {} x {} pixels need {} bytes, {} are there", name, header.columns, header.rows,
          samples * width, available);
  Decoded decoded;
  decoded.image = make_image(header.rows, header.columns);
  const std::vector<std::uint8_t> table = scale_table(header.max_value);
  const std::uint8_t* in = bytes.data() + header.data;
  std::uint8_t* out = decoded.image.rgb.data();
  const int copies = channels == 3 ? 1 : 3;
  for (std::int64_t i = 0; i < samples; ++i, in += width) {
    const std::uint8_t byte = table[width == 1 ? in[0] : static_cast<std::size_t>(in[0] << 8 | in[1])];
    for (int copy = 0; copy < copies; ++copy) *out++ = byte;
  }
  return decoded;
}

}  // namespace locant::image_io
