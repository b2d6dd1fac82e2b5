#include "io/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "io/atomic_file.h"
#include "io/exif.h"
#include "io/image_decoders.h"

namespace locant {
namespace image_io {
namespace {

/// Bounds what the resize needs for its weights.
constexpr std::int64_t kMaxSide = 1 << 24;

}  // namespace

void check_size(std::int64_t rows, std::int64_t columns, const std::string& name, std::int64_t max_pixels) {
  require(rows >= 1 && columns >= 1 && rows <= kMaxSide && columns <= kMaxSide, "image",
          "{}: a picture of {} x {} pixels: sides of 1 to {} are allowed", name, columns, rows, kMaxSide);
  require(rows <= max_pixels / columns, "image", "{}: {} x {} pixels are more than the limit of {}", name,
          columns, rows, max_pixels);
}

Image make_image(std::int64_t rows, std::int64_t columns) {
  Image image;
  image.rows = rows;
  image.columns = columns;
  image.rgb.resize(static_cast<std::size_t>(3 * rows * columns));
  return image;
}

namespace {

using namespace std::string_view_literals;

constexpr std::size_t kFileLimit = std::size_t{1} << 30;
constexpr std::size_t kStandardInputLimit = std::size_t{1} << 28;
constexpr std::size_t kMagicBytes = 16;

bool has_at(Bytes bytes, std::size_t offset, std::string_view text) {
  return bytes.size() >= offset + text.size() &&
         std::memcmp(bytes.data() + offset, text.data(), text.size()) == 0;
}

struct File {
  ~File() {
    if (descriptor >= 0) ::close(descriptor);
  }
  int descriptor = -1;
};

/// The whole stream, but stops early where the first bytes are no picture's or there are more than `limit`.
std::vector<std::uint8_t> read_all(int descriptor, const std::string& name, std::size_t limit,
                                   std::size_t expected) {
  std::vector<std::uint8_t> bytes(std::clamp<std::size_t>(expected + 1, 1 << 16, limit + 1));
  std::size_t filled = 0;
  bool checked = false;
  while (true) {
    const ssize_t count = ::read(descriptor, bytes.data() + filled, bytes.size() - filled);
    if (count < 0 && errno == EINTR) continue;
    require(count >= 0, ErrorKind::system, "image", "{}: cannot be read: {}", name, std::strerror(errno));
    if (count == 0) break;
    filled += static_cast<std::size_t>(count);
    if (!checked && filled >= kMagicBytes) {
      format_of({bytes.data(), filled}, name);
      checked = true;
    }
    require(filled <= limit, "image", "{}: more than {} MiB, which is too much for a picture", name,
            limit >> 20);
    if (filled == bytes.size()) bytes.resize(std::min(2 * filled, limit + 1));
  }
  bytes.resize(filled);
  return bytes;
}

}  // namespace

Format format_of(Bytes bytes, const std::string& name) {
  struct Known {
    std::size_t offset;
    std::string_view magic;
    Format format;
  };
  constexpr std::array<Known, 9> kKnown = {{{0, "\xFF\xD8\xFF"sv, Format::jpeg},
                                            {0, "\x89PNG\r\n\x1A\n"sv, Format::png},
                                            {8, "WEBP"sv, Format::webp},
                                            {0, "P5"sv, Format::ppm},
                                            {0, "P6"sv, Format::ppm},
                                            {0, "II*\0"sv, Format::tiff},
                                            {0, "MM\0*"sv, Format::tiff},
                                            {0, "II+\0"sv, Format::tiff},
                                            {0, "MM\0+"sv, Format::tiff}}};
  for (const Known& known : kKnown) {
    if (has_at(bytes, known.offset, known.magic) && (known.offset == 0 || has_at(bytes, 0, "RIFF"sv)))
      return known.format;
  }
  struct Other {
    std::size_t offset;
    std::string_view magic, what;
  };
  constexpr std::array<Other, 7> kOthers = {{{0, "GIF8"sv, "a GIF"sv},
                                             {0, "BM"sv, "a BMP"sv},
                                             {4, "ftyp"sv, "AVIF, HEIC or a film"sv},
                                             {0, "%PDF"sv, "a PDF"sv},
                                             {0, "P3"sv, "a PPM as text"sv},
                                             {0, "P2"sv, "a PGM as text"sv},
                                             {0, "PK\x03\x04"sv, "a zip file"sv}}};
  require(!bytes.empty(), "image", "{}: the file is empty", name);
  for (const Other& other : kOthers) {
    require(!has_at(bytes, other.offset, other.magic), "image",
            "{}: this is {}; JPEG, PNG, WebP, TIFF and binary PPM or PGM can be read: convert it first", name,
            other.what);
  }
  fail("image", "{}: not a picture: JPEG, PNG, WebP, TIFF and binary PPM or PGM can be read", name);
}

PictureBytes read_picture_bytes(const std::string& path) {
  if (path == "-") {
    const std::string name = "standard input";
    return {name, read_all(STDIN_FILENO, name, kStandardInputLimit, 0)};
  }
  File file;
  file.descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(file.descriptor >= 0, ErrorKind::system, "image", "{}: cannot be opened: {}", path,
          std::strerror(errno));
  struct stat status;
  require(::fstat(file.descriptor, &status) == 0, "image", "{}: cannot be read: {}", path,
          std::strerror(errno));
  require(!S_ISDIR(status.st_mode), "image", "{}: a folder: name the pictures in it", path);
  const std::size_t size = S_ISREG(status.st_mode) ? static_cast<std::size_t>(status.st_size) : 0;
  require(size <= kFileLimit, "image", "{}: {} MiB are too much for a picture", path, size >> 20);
  return {path, read_all(file.descriptor, path, kFileLimit, size)};
}

void check_page(Format format, const std::string& name, const DecodeOptions& options) {
  require(options.page == 1 || format == Format::tiff, "image",
          "{}: page {} was asked for; only TIFF has pages", name, options.page);
}

}  // namespace image_io

namespace {

image_io::Decoded decode(image_io::Bytes bytes, const std::string& name, const DecodeOptions& options) {
  const image_io::Format format = image_io::format_of(bytes, name);
  image_io::check_page(format, name, options);
  switch (format) {
    case image_io::Format::jpeg:
      return image_io::decode_jpeg(bytes, name, options);
    case image_io::Format::png:
      return image_io::decode_png(bytes, name, options);
    case image_io::Format::webp:
      return image_io::decode_webp(bytes, name, options);
    case image_io::Format::ppm:
      return image_io::decode_ppm(bytes, name, options);
    case image_io::Format::tiff:
      break;
  }
  return image_io::decode_tiff(bytes, name, options);
}

}  // namespace

Image decode_image(std::span<const std::uint8_t> bytes, const std::string& name,
                   const DecodeOptions& options) {
  image_io::Decoded decoded = decode(bytes, name, options);
  return options.exif_orientation ? apply_orientation(std::move(decoded.image), decoded.orientation)
                                  : std::move(decoded.image);
}

Image read_image(const std::string& path, const DecodeOptions& options) {
  return reading_file([&] {
    const image_io::PictureBytes picture = image_io::read_picture_bytes(path);
    return decode_image(picture.bytes, picture.name, options);
  });
}

void write_png(const std::string& path, const Image& image) {
  write_file_atomically(path,
                        std::as_bytes(std::span<const std::uint8_t>(image_io::encode_png(image, path))));
}

bool has_image_extension(const std::string& path) {
  constexpr std::array<std::string_view, 11> kExtensions = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp",
                                                            ".ppm", ".pgm",  ".pnm", ".tif",  ".tiff"};
  const std::size_t dot = path.find_last_of("./");
  if (dot == std::string::npos || path[dot] != '.') return false;
  std::string extension = path.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

}  // namespace locant
