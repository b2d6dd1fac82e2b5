// JPEG by libjpeg-turbo with its defaults (accurate integer DCT, smooth chroma upsampling), which are
// Pillow's.
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "io/exif.h"
#include "io/image_decoders.h"

extern "C" {
#include <jerror.h>
#include <jpeglib.h>
}

namespace locant::image_io {
namespace {

/// A well-made progressive file has about ten; each scan of a hostile one costs a walk over the whole
/// picture.
constexpr int kMaxScans = 100;
/// At least one bit for each 8 x 8 block, of which subsampling may stretch each to 4 x 4: no Huffman-coded
/// file holds more pixels a byte.
constexpr std::int64_t kMaxPixelsPerByte = 8 * 64 * 16;

/// Everything that libjpeg's calls touch. It lives outside the function that calls setjmp, so that no longjmp
/// passes over a destructor and no local is clobbered.
struct Decoder {
  Decoder() { std::memset(&info, 0, sizeof(info)); }
  ~Decoder() { jpeg_destroy_decompress(&info); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_source_mgr source;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = "";
  bool ran_out = false;
  JSAMPROW row = nullptr;
};

Decoder& decoder_of(j_common_ptr info) { return *static_cast<Decoder*>(info->client_data); }

void stop(j_common_ptr info, const char* message) {
  Decoder& decoder = decoder_of(info);
  std::snprintf(decoder.message, sizeof(decoder.message), "%s", message);
  std::longjmp(decoder.jump, 1);
}

void on_jpeg_error(j_common_ptr info) {
  char text[JMSG_LENGTH_MAX];
  info->err->format_message(info, text);
  stop(info, text);
}

void on_message(j_common_ptr) {}

/// Warnings are counted, not told: Pillow passes over them too.
void on_jpeg_warning(j_common_ptr info, int level) {
  if (level < 0) ++info->err->num_warnings;
}

void on_progress(j_common_ptr info) {
  // Called by decompressors only.
  if (reinterpret_cast<j_decompress_ptr>(info)->input_scan_number > kMaxScans) {
    stop(info, "more than 100 scans: not a sensible file");
  }
}

void init_source(j_decompress_ptr) {}

boolean fill_input_buffer(j_decompress_ptr info) {
  decoder_of(reinterpret_cast<j_common_ptr>(info)).ran_out = true;
  stop(reinterpret_cast<j_common_ptr>(info), "the file ends too early");
  return FALSE;
}

void skip_input_data(j_decompress_ptr info, long count) {
  if (count <= 0) return;
  jpeg_source_mgr& source = *info->src;
  if (static_cast<unsigned long>(count) > source.bytes_in_buffer) fill_input_buffer(info);
  source.next_input_byte += count;
  source.bytes_in_buffer -= static_cast<std::size_t>(count);
}

/// Runs `step` with libjpeg's errors caught; false when one was raised. `step` must own nothing.
template <class Step>
bool guarded(Decoder& decoder, Step step) {
  if (setjmp(decoder.jump) != 0) return false;
  step();
  return true;
}

void open(Decoder& decoder, Bytes bytes) {
  jpeg_decompress_struct& info = decoder.info;
  info.err = jpeg_std_error(&decoder.errors);
  info.client_data = &decoder;
  decoder.errors.error_exit = on_jpeg_error;
  decoder.errors.emit_message = on_jpeg_warning;
  decoder.errors.output_message = on_message;
  jpeg_create_decompress(&info);
  decoder.progress = {};
  decoder.progress.progress_monitor = on_progress;
  info.progress = &decoder.progress;
  decoder.source = {};
  decoder.source.next_input_byte = bytes.data();
  decoder.source.bytes_in_buffer = bytes.size();
  decoder.source.init_source = init_source;
  decoder.source.fill_input_buffer = fill_input_buffer;
  decoder.source.skip_input_data = skip_input_data;
  decoder.source.resync_to_restart = jpeg_resync_to_restart;
  decoder.source.term_source = init_source;
  info.src = &decoder.source;
  jpeg_save_markers(&info, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&info, TRUE);
  const bool ink = info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK;
  info.out_color_space = ink ? JCS_CMYK : JCS_RGB;
}

int orientation_of(const jpeg_decompress_struct& info) {
  for (const jpeg_marker_struct* marker = info.marker_list; marker != nullptr; marker = marker->next) {
    if (marker->marker != JPEG_APP0 + 1 || marker->data_length < 6) continue;
    if (std::memcmp(marker->data, "Exif\0\0", 6) == 0)
      return exif_orientation({marker->data, marker->data_length});
  }
  return 1;
}

/// round(a b / 255) for bytes, as Pillow forms it.
int multiply_255(int a, int b) {
  const int t = a * b + 128;
  return ((t >> 8) + t) >> 8;
}

/// Four inks stored inverted, as Adobe does and Pillow assumes: 255 is no ink.
void inks_to_rgb(const std::uint8_t* cmyk, std::int64_t count, std::uint8_t* rgb) {
  for (std::int64_t i = 0; i < count; ++i, cmyk += 4, rgb += 3) {
    const int light = cmyk[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<std::uint8_t>(light - multiply_255(255 - cmyk[c], light));
  }
}

}  // namespace

Decoded decode_jpeg(Bytes bytes, const std::string& name, const DecodeOptions& options) {
  Decoder decoder;
  jpeg_decompress_struct& info = decoder.info;
  if (!guarded(decoder, [&] { open(decoder, bytes); }))
    fail("image", "{}: not a good JPEG: {}", name, decoder.message);
  const auto rows = static_cast<std::int64_t>(info.image_height);
  const auto columns = static_cast<std::int64_t>(info.image_width);
  const auto size = static_cast<std::int64_t>(bytes.size());
  check_size(rows, columns, name, options.max_pixels);
  require(info.arith_code || rows * columns / kMaxPixelsPerByte <= size, "image",
          "{}: a JPEG of {} bytes cannot hold {} x {} pixels", name, size, columns, rows);
  Decoded decoded;
  decoded.image = make_image(rows, columns);
  decoded.orientation = orientation_of(info);
  const bool ink = info.out_color_space == JCS_CMYK;
  std::vector<std::uint8_t> inks(ink ? static_cast<std::size_t>(4 * columns) : 0);
  std::uint8_t* rgb = decoded.image.rgb.data();
  const bool complete = guarded(decoder, [&] {
    jpeg_start_decompress(&info);
    while (info.output_scanline < info.output_height) {
      std::uint8_t* out = rgb + 3 * columns * static_cast<std::int64_t>(info.output_scanline);
      decoder.row = ink ? inks.data() : out;
      jpeg_read_scanlines(&info, &decoder.row, 1);
      if (ink) inks_to_rgb(inks.data(), columns, out);
    }
    jpeg_finish_decompress(&info);
  });
  require(complete, "image", "{}: {} JPEG: {}", name, decoder.ran_out ? "truncated" : "damaged",
          decoder.message);
  return decoded;
}

}  // namespace locant::image_io
