// WebP by libwebp: lossy, lossless, with or without alpha (dropped). Animations are refused.
#include <webp/decode.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "io/exif.h"
#include "io/image_decoders.h"
#include "io/label_decoders.h"

namespace locant::image_io {
namespace {

const char* reason(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "out of memory";
    case VP8_STATUS_BITSTREAM_ERROR:
      return "broken bit stream";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that libwebp does not know";
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends too early";
    default:
      return "not decodable";
  }
}

/// The EXIF chunk of the RIFF container: "RIFF" size "WEBP", then chunks of name, size, data, padding to
/// even.
int orientation_of(Bytes bytes) {
  std::size_t at = 12;
  while (at + 8 <= bytes.size()) {
    const std::uint8_t* head = bytes.data() + at;
    const std::size_t size = head[4] | head[5] << 8 | head[6] << 16 | static_cast<std::size_t>(head[7]) << 24;
    at += 8;
    if (size > bytes.size() - at) return 1;
    if (std::memcmp(head, "EXIF", 4) == 0) return exif_orientation(bytes.subspan(at, size));
    at += size + (size & 1);
  }
  return 1;
}

WebPBitstreamFeatures read_header(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(bytes.data(), bytes.size(), &features);
  require(status == VP8_STATUS_OK, "image", "{}: not a good WebP: {}", name, reason(status));
  require(features.has_animation == 0, "image", "{}: an animated WebP: save one of its frames as a picture",
          name);
  check_size(features.height, features.width, name, options.max_pixels);
  return features;
}

/// Pixels of three bytes (MODE_RGB) or four (MODE_RGBA).
void decode(Bytes bytes, const std::string& name, WEBP_CSP_MODE mode, std::int64_t columns,
            std::vector<std::uint8_t>& out) {
  WebPDecoderConfig config;
  require(WebPInitDecoderConfig(&config) != 0, "image", "{}: libwebp is of another version than its header",
          name);
  config.output.colorspace = mode;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out.data();
  config.output.u.RGBA.stride = static_cast<int>((mode == MODE_RGB ? 3 : 4) * columns);
  config.output.u.RGBA.size = out.size();
  const VP8StatusCode result = WebPDecode(bytes.data(), bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  require(result == VP8_STATUS_OK, "image", "{}: damaged or truncated WebP: {}", name, reason(result));
}

}  // namespace

Decoded decode_webp(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const WebPBitstreamFeatures features = read_header(bytes, name, options);
  Decoded decoded;
  decoded.image = make_image(features.height, features.width);
  decode(bytes, name, MODE_RGB, decoded.image.columns, decoded.image.rgb);
  decoded.orientation = orientation_of(bytes);
  return decoded;
}

DecodedLabels decode_webp_labels(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  constexpr int kLossless = 2;
  const WebPBitstreamFeatures features = read_header(bytes, name, options);
  require(features.format == kLossless, "image",
          "{}: a lossy WebP holds no labels, since its colours are not exact: save the mask as PNG or TIFF",
          name);
  std::vector<std::uint8_t> rgba(static_cast<std::size_t>(4 * features.width) *
                                 static_cast<std::size_t>(features.height));
  decode(bytes, name, MODE_RGBA, features.width, rgba);
  DecodedLabels decoded;
  decoded.labels = {features.height, features.width,
                    colour_labels(std::vector<std::uint16_t>(rgba.begin(), rgba.end()), 4, false)};
  std::vector<std::uint32_t>& values = decoded.labels.values;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (rgba[4 * i + 3] == 0) values[i] = 0;
  decoded.orientation = orientation_of(bytes);
  return decoded;
}

}  // namespace locant::image_io
