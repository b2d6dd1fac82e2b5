#include "io/png_reader.h"

#include <png.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <csetjmp>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "core/error.h"
#include "io/exif.h"

namespace locant::image_io {
namespace {

/// Deflate's best: 258 bytes for two bits, and a little for the rows' filter bytes.
constexpr std::int64_t kMaxDeflateRatio = 1033;
constexpr std::size_t kSignature = 8, kChunkHead = 8, kCheckSum = 4;

/// A chunk's head at `at`: length, name, then data and a check sum, which may reach beyond the file.
struct Chunk {
  std::size_t at = 0;
  std::size_t size = 0;
  std::string_view name;
  Bytes data;  // as much as is there

  std::size_t next() const { return at + kChunkHead + size + kCheckSum; }
  bool whole() const { return data.size() == size; }
};

/// False where no head fits, or its name is none: not four letters, digits or underscores (Pillow's rule).
bool read_chunk(Bytes bytes, std::size_t at, Chunk& chunk) {
  if (at > bytes.size() || bytes.size() - at < kChunkHead) return false;
  const std::uint8_t* head = bytes.data() + at;
  chunk.at = at;
  chunk.size = static_cast<std::size_t>(head[0]) << 24 | head[1] << 16 | head[2] << 8 | head[3];
  chunk.name = {reinterpret_cast<const char*>(head + 4), 4};
  for (const char c : chunk.name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '_') return false;
  const std::size_t begin = at + kChunkHead;
  chunk.data = bytes.subspan(begin, std::min(chunk.size, bytes.size() - begin));
  return true;
}

}  // namespace

/// Everything that libpng's calls touch: no longjmp passes over a destructor, no local is clobbered.
struct PngDecoder {
  explicit PngDecoder(Bytes file) : input(file) {
    Chunk chunk;
    for (std::size_t at = kSignature; read_chunk(input, at, chunk); at = chunk.next()) {
      if (chunk.name != "IDAT") continue;
      if (pixels_at == 0) pixels_at = chunk.at;
      if (!chunk.whole()) {
        cut_at = chunk.at;
        cut_size = chunk.data.size();
      }
    }
  }
  ~PngDecoder() { png_destroy_read_struct(&png, &info, nullptr); }
  PngDecoder(const PngDecoder&) = delete;
  PngDecoder& operator=(const PngDecoder&) = delete;

  png_structp png = nullptr;
  png_infop info = nullptr;
  Bytes input;
  std::size_t position = 0;
  std::size_t pixels_at = 0;   // head of the first IDAT, 0 without
  std::size_t cut_at = 0;      // head of an IDAT that the file ends in, 0 without
  std::size_t cut_size = 0;    // what is there of its data
  std::int64_t rows_made = 0;  // rows of passes whose pixels are complete
  bool wrong_sum = false;      // the deflate stream's
  std::jmp_buf jump;
  char message[256] = "";
};

namespace {

PngDecoder& decoder_of(png_structp png) { return *static_cast<PngDecoder*>(png_get_error_ptr(png)); }

/// Runs `step` with libpng's errors caught; false when one was raised. `step` must own nothing.
template <class Step>
bool guarded(PngDecoder& decoder, Step step) {
  if (setjmp(decoder.jump) != 0) return false;
  step();
  return true;
}

void on_read_error(png_structp png, png_const_charp text) {
  PngDecoder& decoder = decoder_of(png);
  std::snprintf(decoder.message, sizeof(decoder.message), "%s", text);
  std::longjmp(decoder.jump, 1);
}

/// zlib's words, which libpng passes on as a warning when all rows are there.
void on_read_warning(png_structp png, png_const_charp text) {
  if (std::strstr(text, "incorrect data check") != nullptr) decoder_of(png).wrong_sum = true;
}

/// The head of an IDAT that the file ends in says how much is there: libpng then gets all of it, not nothing.
void read_bytes(png_structp png, png_bytep out, png_size_t count) {
  PngDecoder& decoder = *static_cast<PngDecoder*>(png_get_io_ptr(png));
  if (count > decoder.input.size() - decoder.position) png_error(png, "the file ends too early");
  std::memcpy(out, decoder.input.data() + decoder.position, count);
  if (decoder.cut_at != 0 && decoder.position == decoder.cut_at && count >= 4) {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint8_t>(decoder.cut_size >> (24 - 8 * i));
  }
  decoder.position += count;
}

/// Called by libpng between a row's pixels and what may be wrong behind the last of them.
void count_row(png_structp png, png_row_infop, png_bytep) { ++decoder_of(png).rows_made; }

std::int64_t rows_of_passes(png_uint_32 rows, png_uint_32 columns, bool interlaced) {
  if (!interlaced) return rows;
  std::int64_t count = 0;
  for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; ++pass)
    if (PNG_PASS_COLS(columns, pass) > 0) count += PNG_PASS_ROWS(rows, pass);
  return count;
}

}  // namespace

PngReader::PngReader(Bytes bytes, const std::string& name, std::int64_t max_pixels)
    : decoder_(std::make_unique<PngDecoder>(bytes)), name_(name) {
  PngDecoder& d = *decoder_;
  const bool opened = guarded(d, [&] {
    d.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &d, on_read_error, on_read_warning);
    if (d.png == nullptr) return;
    d.info = png_create_info_struct(d.png);
    if (d.info == nullptr) png_error(d.png, "out of memory");
    png_set_read_fn(d.png, &d, read_bytes);
    png_set_user_limits(d.png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    png_read_info(d.png, d.info);
    // Of the header's chunks the check sums count.
    png_set_crc_action(d.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  });
  require(opened && d.png != nullptr, "image", "{}: not a good PNG: {}", name, d.message);
  rows_ = png_get_image_height(d.png, d.info);
  columns_ = png_get_image_width(d.png, d.info);
  depth_ = png_get_bit_depth(d.png, d.info);
  check_size(rows_, columns_, name, max_pixels);
  const std::int64_t bits = depth_ * png_get_channels(d.png, d.info);
  const auto size = static_cast<std::int64_t>(bytes.size());
  require(rows_ * columns_ * bits / 8 / kMaxDeflateRatio <= size, "image",
          "{}: truncated PNG: {} bytes cannot hold {} x {} pixels", name, size, columns_, rows_);
  read_colours();
}

PngReader::~PngReader() = default;

void PngReader::read_colours() {
  PngDecoder& d = *decoder_;
  const int type = png_get_color_type(d.png, d.info);
  kind_ = type == PNG_COLOR_TYPE_PALETTE       ? Kind::palette
          : (type & PNG_COLOR_MASK_COLOR) != 0 ? Kind::rgb
                                               : Kind::grey;
  alpha_ = (type & PNG_COLOR_MASK_ALPHA) != 0;
  png_colorp colours = nullptr;
  png_bytep opacity = nullptr, exif = nullptr;
  png_color_16p clear = nullptr;
  int count = 0;
  png_uint_32 exif_size = 0;
  if (kind_ == Kind::palette && png_get_PLTE(d.png, d.info, &colours, &count) != 0)
    for (int i = 0; i < count; ++i)
      palette_.insert(palette_.end(), {colours[i].red, colours[i].green, colours[i].blue});
  if (png_get_tRNS(d.png, d.info, &opacity, &count, &clear) != 0) {
    if (kind_ == Kind::palette) opacity_.assign(opacity, opacity + count);
    if (kind_ == Kind::grey && clear != nullptr) clear_colour_ = {clear->gray};
    if (kind_ == Kind::rgb && clear != nullptr) clear_colour_ = {clear->red, clear->green, clear->blue};
  }
  if (png_get_eXIf_1(d.png, d.info, &exif_size, &exif) != 0)
    orientation_ = exif_orientation({exif, exif_size});
}

void PngReader::read(Form form, void* out) {
  PngDecoder& d = *decoder_;
  const bool wide = depth_ == 16 && form != Form::rgb8;
  const std::int64_t stored = (kind_ == Kind::rgb ? 3 : 1) + (alpha_ ? 1 : 0);
  const std::int64_t row_bytes = columns_ * (form == Form::stored ? stored : 3) * (wide ? 2 : 1);
  const bool complete = guarded(d, [&] {
    if (form == Form::stored) {
      if (depth_ < 8) png_set_packing(d.png);
    } else {
      if (!wide && depth_ == 16) png_set_strip_16(d.png);
      if (kind_ == Kind::palette) png_set_palette_to_rgb(d.png);
      if (kind_ == Kind::grey && depth_ < 8) png_set_expand_gray_1_2_4_to_8(d.png);
      if (kind_ == Kind::grey) png_set_gray_to_rgb(d.png);
      png_set_strip_alpha(d.png);
    }
    if (wide && std::endian::native == std::endian::little) png_set_swap(d.png);
    png_set_read_user_transform_fn(d.png, count_row);
    const int passes = png_set_interlace_handling(d.png);
    png_read_update_info(d.png, d.info);
    if (png_get_rowbytes(d.png, d.info) != static_cast<std::size_t>(row_bytes))
      png_error(d.png, "unexpected row format");
    for (int pass = 0; pass < passes; ++pass) {
      for (std::int64_t r = 0; r < rows_; ++r)
        png_read_row(d.png, static_cast<std::uint8_t*>(out) + r * row_bytes, nullptr);
    }
  });
  const bool interlaced = png_get_interlace_type(d.png, d.info) != PNG_INTERLACE_NONE;
  const std::int64_t wanted =
      rows_of_passes(static_cast<png_uint_32>(rows_), static_cast<png_uint_32>(columns_), interlaced);
  require(complete || d.rows_made == wanted, "image", "{}: damaged or truncated PNG: {}", name_, d.message);
  require(!d.wrong_sum, "image", "{}: damaged PNG: the check sum of the pixels is wrong", name_);
  read_tail();
}

/// What stands behind the pixels, by Pillow's rules: it ends at IEND, at the next picture of an animation, at
/// the end of the file or at what is no chunk; a chunk that is cut off is an error.
void PngReader::read_tail() {
  const Bytes bytes = decoder_->input;
  Chunk chunk;
  for (std::size_t at = decoder_->pixels_at; at != 0 && read_chunk(bytes, at, chunk); at = chunk.next()) {
    if (chunk.name == "IEND" || chunk.name == "fcTL") return;
    if (chunk.name == "IDAT") continue;
    require(chunk.whole(), "image", "{}: truncated PNG: the file ends within its chunk {}", name_,
            chunk.name);
    if (chunk.name == "eXIf") orientation_ = exif_orientation(chunk.data);
  }
}

}  // namespace locant::image_io
