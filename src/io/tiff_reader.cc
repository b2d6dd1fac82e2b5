#include "io/tiff_reader.h"

#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "core/error.h"
#include "io/tiff_pages.h"

namespace locant::image_io {

/// The file in memory, as libtiff's callbacks see it, and the first thing it complained about.
struct TiffHandle {
  ~TiffHandle() {
    if (tiff != nullptr) TIFFClose(tiff);
  }
  TIFF* tiff = nullptr;
  Bytes bytes;
  std::uint64_t position = 0;
  char message[256] = "";
};

namespace {

TiffHandle& handle_of(thandle_t user) { return *static_cast<TiffHandle*>(user); }

tmsize_t read_bytes(thandle_t user, void* out, tmsize_t count) {
  TiffHandle& handle = handle_of(user);
  if (count <= 0 || handle.position >= handle.bytes.size()) return 0;
  const std::size_t size = std::min(static_cast<std::size_t>(count),
                                    handle.bytes.size() - static_cast<std::size_t>(handle.position));
  std::memcpy(out, handle.bytes.data() + handle.position, size);
  handle.position += size;
  return static_cast<tmsize_t>(size);
}

tmsize_t write_nothing(thandle_t, void*, tmsize_t) { return 0; }

toff_t seek(thandle_t user, toff_t offset, int whence) {
  TiffHandle& handle = handle_of(user);
  const toff_t base = whence == SEEK_CUR ? handle.position : whence == SEEK_END ? handle.bytes.size() : 0;
  return handle.position = base + offset;
}

int close_nothing(thandle_t) { return 0; }

toff_t size_of(thandle_t user) { return handle_of(user).bytes.size(); }

/// The first message is the cause. 1: libtiff's process-wide handler stays out of it.
int on_error(TIFF*, void* user, const char*, const char* format, va_list arguments) {
  TiffHandle& handle = handle_of(user);
  if (handle.message[0] == '\0') std::vsnprintf(handle.message, sizeof(handle.message), format, arguments);
  return 1;
}

int on_warning(TIFF*, void*, const char*, const char*, va_list) { return 1; }

void open(TiffHandle& handle, const std::string& name, std::int64_t memory_limit) {
  TIFFOpenOptions* options = TIFFOpenOptionsAlloc();
  require(options != nullptr, "image", "{}: out of memory", name);
  TIFFOpenOptionsSetMaxSingleMemAlloc(options, memory_limit);
  TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, &handle);
  TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, &handle);
  // h: no page is read before one is asked for; m: through the callbacks.
  handle.tiff = TIFFClientOpenExt("picture", "rhm", &handle, read_bytes, write_nothing, seek, close_nothing,
                                  size_of, nullptr, nullptr, options);
  TIFFOpenOptionsFree(options);
  require(handle.tiff != nullptr, "image", "{}: not a good TIFF: {}", name, handle.message);
}

int field(TIFF* tiff, std::uint32_t tag) {
  std::uint16_t value = 0;
  return TIFFGetFieldDefaulted(tiff, tag, &value) != 0 ? value : 0;
}

TiffPage read_page(TIFF* tiff) {
  TiffPage page;
  std::uint32_t rows = 0, columns = 0;
  TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &rows);
  TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &columns);
  page.rows = rows;
  page.columns = columns;
  page.bits = field(tiff, TIFFTAG_BITSPERSAMPLE);
  page.samples = field(tiff, TIFFTAG_SAMPLESPERPIXEL);
  page.format = field(tiff, TIFFTAG_SAMPLEFORMAT);
  page.photometric = field(tiff, TIFFTAG_PHOTOMETRIC);  // absent: 0, white is zero, as Pillow has it
  page.compression = field(tiff, TIFFTAG_COMPRESSION);
  page.orientation = field(tiff, TIFFTAG_ORIENTATION);
  page.tiled = TIFFIsTiled(tiff) != 0;
  const bool colours = page.photometric == PHOTOMETRIC_RGB || page.photometric == PHOTOMETRIC_YCBCR;
  page.colours = colours && page.samples >= 3 ? 3 : 1;
  page.planes = field(tiff, TIFFTAG_PLANARCONFIG) == PLANARCONFIG_SEPARATE && page.samples > 1;
  std::uint16_t extra = 0, *types = nullptr;
  if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &extra, &types) != 0 && extra > 0 &&
      page.samples > page.colours) {
    page.multiplied = types[0] == EXTRASAMPLE_ASSOCALPHA;
    page.alpha = page.multiplied || types[0] == EXTRASAMPLE_UNASSALPHA;
  }
  return page;
}

const char* foreign_colours(int photometric) {
  switch (photometric) {
    case PHOTOMETRIC_SEPARATED:
      return "CMYK or other inks";
    case PHOTOMETRIC_MASK:
      return "a transparency mask";
    case PHOTOMETRIC_CIELAB:
    case PHOTOMETRIC_ICCLAB:
    case PHOTOMETRIC_ITULAB:
      return "L*a*b* colours";
    case PHOTOMETRIC_LOGL:
    case PHOTOMETRIC_LOGLUV:
      return "LogLuv (high dynamic range)";
    case 32803:
    case 34892:
      return "a camera's raw data (DNG)";
    default:
      return nullptr;
  }
}

const char* format_name(int format) {
  switch (format) {
    case SAMPLEFORMAT_INT:
      return "signed whole numbers";
    case SAMPLEFORMAT_IEEEFP:
      return "floating point";
    case SAMPLEFORMAT_COMPLEXINT:
    case SAMPLEFORMAT_COMPLEXIEEEFP:
      return "complex numbers";
    default:
      return "whole numbers";
  }
}

/// `pixels` pixels of `samples` samples of a row, `first` and on: the leading `count` of each.
template <class T>
void unpack(const std::uint8_t* row, int bits, std::int64_t pixels, std::int64_t samples, std::int64_t count,
            T* out, std::int64_t step) {
  const int mask = (1 << std::min(bits, 8)) - 1;
  for (std::int64_t p = 0; p < pixels; ++p, out += step) {
    for (std::int64_t c = 0; c < count; ++c) {
      const std::int64_t sample = p * samples + c;
      if constexpr (sizeof(T) == 1) {
        const std::int64_t bit = sample * bits;
        out[c] = static_cast<T>(row[bit / 8] >> (8 - bits - bit % 8) & mask);
      } else {
        std::memcpy(out + c, row + sample * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
      }
    }
  }
}

}  // namespace

TiffReader::TiffReader(Bytes bytes, const std::string& name, const DecodeOptions& options)
    : handle_(std::make_unique<TiffHandle>()),
      name_(name),
      limit_((std::int64_t{1} << 26) + 8 * options.max_pixels) {
  handle_->bytes = bytes;
  open(*handle_, name, limit_);
  const std::vector<std::uint64_t> pages = tiff_page_offsets(bytes);
  const auto count = static_cast<std::int64_t>(pages.size());
  require(count > 0, "image", "{}: damaged or truncated TIFF: no page in the file", name);
  require(options.page >= 1 && options.page <= count, "image", "{}: page {} was asked for; there {} {}", name,
          options.page, count == 1 ? "is" : "are", count);
  if (TIFFSetSubDirectory(handle_->tiff, pages[static_cast<std::size_t>(options.page - 1)]) == 0)
    fail_damaged();
  page_ = read_page(handle_->tiff);
  check_size(page_.rows, page_.columns, name, options.max_pixels);
  if (count > 1 && options.note)
    options.note(fmt::format("{}: page {} of {} is read", name, options.page, count));
}

TiffReader::~TiffReader() = default;

void TiffReader::fail_damaged() const {
  fail("image", "{}: damaged or truncated TIFF: {}", name_, handle_->message);
}

void TiffReader::require_readable(bool labels) const {
  const TiffPage& p = page_;
  const char* hint = "convert it to 8 or 16-bit grey or RGB first";
  const char* foreign = foreign_colours(p.photometric);
  require(foreign == nullptr, "image", "{}: a TIFF of {}: {}", name_, foreign == nullptr ? "" : foreign,
          hint);
  require(p.photometric <= PHOTOMETRIC_YCBCR, "image", "{}: a TIFF of unknown colours (photometric {}): {}",
          name_, p.photometric, hint);
  require(p.compression != COMPRESSION_OJPEG, "image",
          "{}: a TIFF with old-style JPEG (compression 6): save it with LZW or deflate", name_);
  require(TIFFIsCODECConfigured(static_cast<std::uint16_t>(p.compression)) != 0, "image",
          "{}: a TIFF of compression {}, which this libtiff cannot undo: save it with LZW or deflate", name_,
          p.compression);
  const bool grey = p.colours == 1 && p.photometric != PHOTOMETRIC_PALETTE;
  require(p.photometric != PHOTOMETRIC_RGB || p.samples >= 3, "image",
          "{}: an RGB TIFF of {} samples a pixel", name_, p.samples);
  require(!grey || p.samples <= 2, "image",
          "{}: a TIFF of {} channels that are no colours: save each as a page or file of its own", name_,
          p.samples);
  const bool small = p.bits == 1 || p.bits == 2 || p.bits == 4 || p.bits == 8;
  const bool plain = p.format == SAMPLEFORMAT_UINT || p.format == SAMPLEFORMAT_VOID;
  if (labels) {
    const bool lossy = p.compression == COMPRESSION_JPEG || p.compression == COMPRESSION_WEBP ||
                       p.photometric == PHOTOMETRIC_YCBCR;
    require(
        !lossy, "image",
        "{}: a TIFF with JPEG, WebP or YCbCr holds no labels, since its numbers are not exact: save the mask "
        "with LZW or deflate",
        name_);
    const bool real = p.format == SAMPLEFORMAT_IEEEFP && (p.bits == 32 || p.bits == 64);
    const bool whole = plain || (p.format == SAMPLEFORMAT_INT && p.bits >= 8);
    const bool wide = p.bits == 16 || p.bits == 32 || p.bits == 64;
    require(grey ? real || (whole && (small || wide))
                 : plain && (small || (p.photometric == PHOTOMETRIC_RGB && p.bits == 16)),
            "image", "{}: a mask of {}-bit {}: save it as 8 or 16-bit grey", name_, p.bits,
            format_name(p.format));
    return;
  }
  require(plain && (small || (p.bits == 16 && (grey || p.photometric == PHOTOMETRIC_RGB))), "image",
          "{}: a TIFF of {}-bit {}: scale it to 8 or 16 bits first (Fiji: Image > Type > 16-bit)", name_,
          p.bits, format_name(p.format));
  require(p.photometric != PHOTOMETRIC_YCBCR || p.bits == 8, "image", "{}: a TIFF of {}-bit YCbCr: {}", name_,
          p.bits, hint);
}

void TiffReader::check_buffer(std::int64_t bytes) const {
  require(bytes >= 1 && bytes <= limit_, "image", "{}: a TIFF that takes {} bytes a row or tile", name_,
          bytes);
}

template <class T>
std::vector<T> TiffReader::read(std::int64_t count) const {
  TIFF* tiff = handle_->tiff;
  if (page_.photometric == PHOTOMETRIC_YCBCR && page_.compression == COMPRESSION_JPEG && page_.colours == 3)
    TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  std::vector<T> out(static_cast<std::size_t>(page_.rows * page_.columns * count));
  page_.tiled ? read_tiles(count, out.data()) : read_rows(count, out.data());
  return out;
}

template <class T>
void TiffReader::read_rows(std::int64_t count, T* out) const {
  TIFF* tiff = handle_->tiff;
  const std::int64_t samples = page_.planes ? 1 : page_.samples, passes = page_.planes ? count : 1;
  const std::int64_t row_bytes = TIFFScanlineSize64(tiff);
  check_buffer(row_bytes);
  require((page_.columns * samples * page_.bits + 7) / 8 <= row_bytes, "image",
          "{}: damaged TIFF: rows of {} bytes are too short", name_, row_bytes);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(row_bytes));
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    for (std::int64_t r = 0; r < page_.rows; ++r) {
      if (TIFFReadScanline(tiff, row.data(), static_cast<std::uint32_t>(r),
                           static_cast<std::uint16_t>(pass)) != 1)
        fail_damaged();
      unpack(row.data(), page_.bits, page_.columns, samples, count / passes,
             out + r * page_.columns * count + pass, count);
    }
  }
}

template <class T>
void TiffReader::read_tiles(std::int64_t count, T* out) const {
  TIFF* tiff = handle_->tiff;
  const std::int64_t samples = page_.planes ? 1 : page_.samples, passes = page_.planes ? count : 1;
  std::uint32_t wide = 0, high = 0;
  TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &wide);
  TIFFGetField(tiff, TIFFTAG_TILELENGTH, &high);
  const std::int64_t tile_bytes = TIFFTileSize64(tiff), row_bytes = TIFFTileRowSize64(tiff);
  check_buffer(tile_bytes);
  require(wide > 0 && high > 0 && (wide * samples * page_.bits + 7) / 8 <= row_bytes &&
              row_bytes <= tile_bytes / high,
          "image", "{}: damaged TIFF: tiles of {} bytes are too small", name_, tile_bytes);
  std::vector<std::uint8_t> tile(static_cast<std::size_t>(tile_bytes));
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    for (std::int64_t y = 0; y < page_.rows; y += high) {
      for (std::int64_t x = 0; x < page_.columns; x += wide) {
        if (TIFFReadTile(tiff, tile.data(), static_cast<std::uint32_t>(x), static_cast<std::uint32_t>(y), 0,
                         static_cast<std::uint16_t>(pass)) < 0)
          fail_damaged();
        const std::int64_t rows = std::min<std::int64_t>(high, page_.rows - y);
        const std::int64_t columns = std::min<std::int64_t>(wide, page_.columns - x);
        for (std::int64_t r = 0; r < rows; ++r)
          unpack(tile.data() + r * row_bytes, page_.bits, columns, samples, count / passes,
                 out + ((y + r) * page_.columns + x) * count + pass, count);
      }
    }
  }
}

template std::vector<std::uint8_t> TiffReader::read(std::int64_t) const;
template std::vector<std::uint16_t> TiffReader::read(std::int64_t) const;
template std::vector<std::uint32_t> TiffReader::read(std::int64_t) const;
template std::vector<std::uint64_t> TiffReader::read(std::int64_t) const;

std::vector<std::uint8_t> TiffReader::read_as_rgb() const {
  TIFF* tiff = handle_->tiff;
  TIFFRGBAImage image;
  char message[1024] = "";
  const auto refuse = [&] { fail("image", "{}: damaged or truncated TIFF: {}", name_, message); };
  if (TIFFRGBAImageOK(tiff, message) == 0 || TIFFRGBAImageBegin(&image, tiff, 1, message) == 0) refuse();
  image.req_orientation = image.orientation;  // as stored
  const auto pixels = static_cast<std::size_t>(page_.rows * page_.columns);
  std::vector<std::uint32_t> raster(pixels);
  const int fine = TIFFRGBAImageGet(&image, raster.data(), static_cast<std::uint32_t>(page_.columns),
                                    static_cast<std::uint32_t>(page_.rows));
  TIFFRGBAImageEnd(&image);
  if (fine == 0) fail_damaged();
  std::vector<std::uint8_t> out(3 * pixels);
  for (std::size_t i = 0; i < pixels; ++i) {
    out[3 * i] = static_cast<std::uint8_t>(TIFFGetR(raster[i]));
    out[3 * i + 1] = static_cast<std::uint8_t>(TIFFGetG(raster[i]));
    out[3 * i + 2] = static_cast<std::uint8_t>(TIFFGetB(raster[i]));
  }
  return out;
}

std::vector<std::uint8_t> TiffReader::palette() const {
  std::uint16_t* maps[3] = {};
  const bool there = TIFFGetField(handle_->tiff, TIFFTAG_COLORMAP, &maps[0], &maps[1], &maps[2]) != 0;
  require(there && maps[0] != nullptr && maps[1] != nullptr && maps[2] != nullptr, "image",
          "{}: damaged TIFF: a palette picture without a palette", name_);
  const std::size_t count = std::size_t{1} << page_.bits;
  // Sixteen bits by the book; some writers put bytes there, and then no entry is above 255.
  bool wide = false;
  for (const std::uint16_t* map : maps)
    wide = wide || std::any_of(map, map + count, [](int v) { return v > 255; });
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i < count; ++i)
    for (const std::uint16_t* map : maps)
      out.push_back(static_cast<std::uint8_t>(wide ? map[i] >> 8 : map[i]));
  return out;
}

}  // namespace locant::image_io
