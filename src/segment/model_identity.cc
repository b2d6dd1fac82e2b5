#include "segment/model_identity.h"

#include <zip.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/sha256.h"
#include "io/mapped_file.h"
#include "io/pth.h"

namespace locant {
namespace {

constexpr std::uint64_t kSamples = 64;
constexpr std::uint64_t kSampleBytes = 64;
constexpr std::uint64_t kPickleBytes = 256 * 1024;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the safetensors format's own limit

void append(std::string& text, std::span<const std::byte> bytes) {
  text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

void append_directory(std::string& text, const MappedFile& file) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(file.bytes().data(), file.size(), 0, &error);
  zip_t* opened = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
  if (opened == nullptr && source != nullptr) zip_source_free(source);
  const std::string reason = opened == nullptr ? zip_error_strerror(&error) : "";
  zip_error_fini(&error);
  if (opened == nullptr)
    fail("model_identity", "{}: the zip archive cannot be opened: {} (is the file cut off?)", file.name(),
         reason);
  const std::unique_ptr<zip_t, void (*)(zip_t*)> archive(opened, zip_discard);
  const zip_int64_t count = zip_get_num_entries(archive.get(), 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t entry;
    zip_stat_init(&entry);
    if (zip_stat_index(archive.get(), static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW, &entry) != 0)
      fail("model_identity", "{}: entry {}: {}", file.name(), i, zip_strerror(archive.get()));
    text += fmt::format("{} {} {} {:08x} {}\n", entry.name, entry.size, entry.comp_size, entry.crc,
                        entry.comp_method);
  }
}

void append_header(std::string& text, const MappedFile& file) {
  std::uint64_t length = 0;
  if (file.size() >= 8) std::memcpy(&length, file.bytes().data(), 8);
  const bool plausible = file.size() >= 10 && length >= 2 &&
                         length <= std::min(kMaxHeader, file.size() - 8) && file.bytes()[8] == std::byte{'{'};
  require(plausible, "model_identity", "{}: neither safetensors nor what torch.save writes", file.name());
  append(text, file.bytes().subspan(8, length));
}

}  // namespace

std::string model_identity(const std::string& path) {
  const std::shared_ptr<const MappedFile> file = MappedFile::open(path);
  const std::span<const std::byte> bytes = file->bytes();
  std::string text;
  if (is_zip(bytes)) {
    text = "zip\n";
    append_directory(text, *file);
  } else if (is_pickle(bytes)) {
    text = "pickle\n";
    append(text, bytes.subspan(0, std::min(kPickleBytes, file->size())));
  } else {
    text = "safetensors\n";
    append_header(text, *file);
  }
  text += fmt::format("\n{} bytes\n", file->size());
  // Samples end with the file's last bytes: the spacing reaches from the first byte to there.
  const std::uint64_t span = file->size() - std::min(kSampleBytes, file->size());
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const std::uint64_t at = span / (kSamples - 1) * i;
    append(text, bytes.subspan(at, std::min(kSampleBytes, file->size() - at)));
  }
  return sha256_hex({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

}  // namespace locant
