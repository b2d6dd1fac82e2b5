// PNG by libpng. Colours are taken as stored: gamma, ICC profiles and transparency are passed over.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "io/exif.h"
#include "io/image_decoders.h"

namespace locant::image_io {
namespace {

/// Deflate's best: 258 bytes for two bits, and a little for the rows' filter bytes.
constexpr std::int64_t kMaxDeflateRatio = 1033;

/// Everything that libpng's calls touch: no longjmp passes over a destructor, no local is clobbered.
struct Codec {
  Codec() = default;
  ~Codec() {
    if (writing) {
      png_destroy_write_struct(&png, &info);
    } else {
      png_destroy_read_struct(&png, &info, nullptr);
    }
  }
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  png_structp png = nullptr;
  png_infop info = nullptr;
  bool writing = false;
  Bytes input;
  std::size_t position = 0;
  std::vector<std::uint8_t> output;
  std::jmp_buf jump;
  char message[256] = "";
};

void on_error(png_structp png, png_const_charp text) {
  Codec& codec = *static_cast<Codec*>(png_get_error_ptr(png));
  std::snprintf(codec.message, sizeof(codec.message), "%s", text);
  std::longjmp(codec.jump, 1);
}

void on_warning(png_structp, png_const_charp) {}

void read_bytes(png_structp png, png_bytep out, png_size_t count) {
  Codec& codec = *static_cast<Codec*>(png_get_io_ptr(png));
  if (count > codec.input.size() - codec.position) png_error(png, "the file ends too early");
  std::memcpy(out, codec.input.data() + codec.position, count);
  codec.position += count;
}

void write_bytes(png_structp png, png_bytep data, png_size_t count) {
  Codec& codec = *static_cast<Codec*>(png_get_io_ptr(png));
  bool written = false;
  try {
    codec.output.insert(codec.output.end(), data, data + count);
    written = true;
  } catch (const std::exception&) {
    // No exception may cross libpng, and no longjmp may leave a handler.
  }
  if (!written) png_error(png, "out of memory");
}

void flush_bytes(png_structp) {}

/// Runs `step` with libpng's errors caught; false when one was raised. `step` must own nothing.
template <class Step>
bool guarded(Codec& codec, Step step) {
  if (setjmp(codec.jump) != 0) return false;
  step();
  return true;
}

void open(Codec& codec) {
  codec.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &codec, on_error, on_warning);
  if (codec.png == nullptr) return;
  codec.info = png_create_info_struct(codec.png);
  if (codec.info == nullptr) png_error(codec.png, "out of memory");
  png_set_read_fn(codec.png, &codec, read_bytes);
  png_set_user_limits(codec.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
  png_read_info(codec.png, codec.info);
}

/// Any colour type and depth to 8-bit RGB. Returns the number of passes (7 when interlaced).
int set_transforms(Codec& codec) {
  const int type = png_get_color_type(codec.png, codec.info);
  const int depth = png_get_bit_depth(codec.png, codec.info);
  if (depth == 16) png_set_strip_16(codec.png);
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(codec.png);
  if (type == PNG_COLOR_TYPE_GRAY && depth < 8) png_set_expand_gray_1_2_4_to_8(codec.png);
  if ((type & PNG_COLOR_MASK_COLOR) == 0) png_set_gray_to_rgb(codec.png);
  png_set_strip_alpha(codec.png);
  const int passes = png_set_interlace_handling(codec.png);
  png_read_update_info(codec.png, codec.info);
  return passes;
}

}  // namespace

Decoded decode_png(Bytes bytes, const std::string& name, std::int64_t max_pixels) {
  Codec codec;
  codec.input = bytes;
  const bool opened = guarded(codec, [&] { open(codec); });
  require(opened && codec.png != nullptr, "image", "{}: not a good PNG: {}", name, codec.message);
  const auto rows = static_cast<std::int64_t>(png_get_image_height(codec.png, codec.info));
  const auto columns = static_cast<std::int64_t>(png_get_image_width(codec.png, codec.info));
  check_size(rows, columns, name, max_pixels);
  const std::int64_t bits =
      png_get_bit_depth(codec.png, codec.info) * png_get_channels(codec.png, codec.info);
  const auto size = static_cast<std::int64_t>(bytes.size());
  require(rows * columns * bits / 8 / kMaxDeflateRatio <= size, "image",
          "{}: truncated PNG: {} bytes cannot hold {} x {} pixels", name, size, columns, rows);
  Decoded decoded;
  decoded.image = make_image(rows, columns);
  std::uint8_t* rgb = decoded.image.rgb.data();
  const bool complete = guarded(codec, [&] {
    const int passes = set_transforms(codec);
    if (png_get_rowbytes(codec.png, codec.info) != static_cast<std::size_t>(3 * columns)) {
      png_error(codec.png, "unexpected row format");
    }
    for (int pass = 0; pass < passes; ++pass) {
      for (std::int64_t r = 0; r < rows; ++r) png_read_row(codec.png, rgb + 3 * columns * r, nullptr);
    }
    png_read_end(codec.png, codec.info);
  });
  require(complete, "image", "{}: damaged or truncated PNG: {}", name, codec.message);
  png_bytep exif = nullptr;
  png_uint_32 exif_size = 0;
  if (png_get_eXIf_1(codec.png, codec.info, &exif_size, &exif) != 0) {
    decoded.orientation = exif_orientation({exif, exif_size});
  }
  return decoded;
}

std::vector<std::uint8_t> encode_png(const Image& image, const std::string& name) {
  require(image.rows >= 1 && image.columns >= 1 && image.rows <= PNG_UINT_31_MAX &&
              image.columns <= PNG_UINT_31_MAX,
          "image", "{}: cannot write a PNG of {} x {} pixels", name, image.columns, image.rows);
  require(image.rgb.size() == static_cast<std::size_t>(3 * image.rows * image.columns), "image",
          "{}: {} bytes are not {} x {} RGB pixels", name, image.rgb.size(), image.columns, image.rows);
  Codec codec;
  codec.writing = true;
  const bool complete = guarded(codec, [&] {
    codec.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &codec, on_error, on_warning);
    if (codec.png == nullptr) return;
    codec.info = png_create_info_struct(codec.png);
    if (codec.info == nullptr) png_error(codec.png, "out of memory");
    png_set_write_fn(codec.png, &codec, write_bytes, flush_bytes);
    png_set_user_limits(codec.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_set_IHDR(codec.png, codec.info, static_cast<png_uint_32>(image.columns),
                 static_cast<png_uint_32>(image.rows), 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(codec.png, codec.info);
    for (std::int64_t r = 0; r < image.rows; ++r) {
      png_write_row(codec.png, image.rgb.data() + 3 * image.columns * r);
    }
    png_write_end(codec.png, codec.info);
  });
  require(complete && codec.png != nullptr, "image", "{}: libpng: {}", name, codec.message);
  return std::move(codec.output);
}

}  // namespace locant::image_io
