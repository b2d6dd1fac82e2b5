// PNG by libpng. Colours are taken as stored: gamma, ICC profiles and transparency are passed over.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "io/depth16.h"
#include "io/image_decoders.h"
#include "io/png_reader.h"

namespace locant::image_io {
namespace {

/// Everything that libpng's calls touch: no longjmp passes over a destructor, no local is clobbered.
struct Encoder {
  Encoder() = default;
  ~Encoder() { png_destroy_write_struct(&png, &info); }
  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;

  png_structp png = nullptr;
  png_infop info = nullptr;
  std::vector<std::uint8_t> output;
  std::jmp_buf jump;
  char message[256] = "";
};

void on_write_error(png_structp png, png_const_charp text) {
  Encoder& encoder = *static_cast<Encoder*>(png_get_error_ptr(png));
  std::snprintf(encoder.message, sizeof(encoder.message), "%s", text);
  std::longjmp(encoder.jump, 1);
}

void ignore_warning(png_structp, png_const_charp) {}

void write_bytes(png_structp png, png_bytep data, png_size_t count) {
  Encoder& encoder = *static_cast<Encoder*>(png_get_io_ptr(png));
  bool written = false;
  try {
    encoder.output.insert(encoder.output.end(), data, data + count);
    written = true;
  } catch (const std::exception&) {
    // No exception may cross libpng, and no longjmp may leave a handler.
  }
  if (!written) png_error(png, "out of memory");
}

void flush_bytes(png_structp) {}

/// Runs `step` with libpng's errors caught; false when one was raised. `step` must own nothing.
template <class Step>
bool guarded(Encoder& encoder, Step step) {
  if (setjmp(encoder.jump) != 0) return false;
  step();
  return true;
}

}  // namespace

Decoded decode_png(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  PngReader png(bytes, name, options.max_pixels);
  Decoded decoded;
  decoded.image = make_image(png.rows(), png.columns());
  std::vector<std::uint8_t>& rgb = decoded.image.rgb;
  if (png.depth() == 16 && options.depth16 != Depth16::high) {
    std::vector<std::uint16_t> samples(rgb.size());
    png.read(PngReader::Form::rgb16, samples.data());
    const std::vector<std::uint8_t> table =
        depth16_table(samples, options.depth16, png.kind() == PngReader::Kind::grey ? 3 : 1);
    std::transform(samples.begin(), samples.end(), rgb.begin(), [&](std::uint16_t v) { return table[v]; });
  } else {
    png.read(PngReader::Form::rgb8, rgb.data());
    if (png.depth() == 16) note_dark(decoded.image, name, options);
  }
  decoded.orientation = png.orientation();
  return decoded;
}

std::vector<std::uint8_t> encode_png(const Image& image, const std::string& name) {
  require(image.rows >= 1 && image.columns >= 1 && image.rows <= PNG_UINT_31_MAX &&
              image.columns <= PNG_UINT_31_MAX,
          "image", "{}: cannot write a PNG of {} x {} pixels", name, image.columns, image.rows);
  require(image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns), "image",
          "{}: {} bytes are not {} x {} RGB pixels", name, image.rgb.size(), image.columns, image.rows);
  Encoder encoder;
  const bool complete = guarded(encoder, [&] {
    encoder.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &encoder, on_write_error, ignore_warning);
    if (encoder.png == nullptr) return;
    encoder.info = png_create_info_struct(encoder.png);
    if (encoder.info == nullptr) png_error(encoder.png, "out of memory");
    png_set_write_fn(encoder.png, &encoder, write_bytes, flush_bytes);
    png_set_user_limits(encoder.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(encoder.png, encoder.info, static_cast<png_uint_32>(image.columns),
                 static_cast<png_uint_32>(image.rows), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(encoder.png, encoder.info);
    for (std::int64_t r = 0; r < image.rows; ++r) {
      png_write_row(encoder.png, image.rgb.data() + 3 * image.columns * r);
    }
    png_write_end(encoder.png, encoder.info);
  });
  require(complete && encoder.png != nullptr, "image", "{}: libpng: {}", name, encoder.message);
  return std::move(encoder.output);
}

}  // namespace locant::image_io
