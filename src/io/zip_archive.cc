#include "io/zip_archive.h"

#include <zip.h>

#include <algorithm>

#include "core/error.h"
#include "core/pool.h"

namespace locant {
namespace {

constexpr std::uint64_t kMaxDeflateRatio = 1032;  // zlib's own figure for the format

}  // namespace

ZipArchive::ZipArchive(const MappedFile& file, std::string op)
    : name_(file.name()), op_(std::move(op)), file_bytes_(file.size()) {
  zip_error_t error;
  zip_error_init(&error);
  // From a path libzip reads by itself: memory stays at one entry, and truncation is an error, no signal.
  zip_source_t* source = file.mapped()
                             ? zip_source_file_create(name_.c_str(), 0, -1, &error)
                             : zip_source_buffer_create(file.bytes().data(), file.size(), 0, &error);
  zip_ = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
  if (zip_ == nullptr && source != nullptr) zip_source_free(source);
  const std::string reason = zip_ == nullptr ? zip_error_strerror(&error) : "";
  zip_error_fini(&error);
  if (zip_ == nullptr)
    fail(op_, "{}: the zip archive cannot be opened: {} (is the file cut off?)", name_, reason);
}

ZipArchive::~ZipArchive() { zip_discard(zip_); }

std::vector<std::string> ZipArchive::names() const {
  std::vector<std::string> out;
  const zip_int64_t count = zip_get_num_entries(zip_, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* raw = zip_get_name(zip_, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    out.emplace_back(raw == nullptr ? "" : raw);
  }
  return out;
}

bool ZipArchive::has(const std::string& name) const {
  return zip_name_locate(zip_, name.c_str(), ZIP_FL_ENC_RAW) >= 0;
}

ZipArchive::Entry ZipArchive::find(const std::string& name) const {
  const zip_int64_t index = zip_name_locate(zip_, name.c_str(), ZIP_FL_ENC_RAW);
  if (index < 0) fail(op_, "{}: the zip archive has no entry {}", name_, name);
  zip_stat_t status;
  zip_stat_init(&status);
  if (zip_stat_index(zip_, static_cast<zip_uint64_t>(index), 0, &status) != 0)
    fail(op_, "{}: entry {}: {}", name_, name, zip_strerror(zip_));
  const bool stored = status.comp_method == ZIP_CM_STORE;
  if (!stored && status.comp_method != ZIP_CM_DEFLATE)
    fail(op_, "{}: entry {}: compression method {}; stored and deflated entries are read", name_, name,
         status.comp_method);
  require(status.encryption_method == ZIP_EM_NONE, op_, "{}: entry {}: is encrypted", name_, name);
  if (status.comp_size > file_bytes_ || (stored && status.size != status.comp_size) ||
      status.size / kMaxDeflateRatio > status.comp_size)
    fail(op_, "{}: entry {}: {} bytes from {} in a file of {} cannot be", name_, name, status.size,
         status.comp_size, file_bytes_);
  return {static_cast<std::uint64_t>(index), name, status.size, status.crc, stored};
}

bool ZipArchive::accept_missing_sums(std::string_view prefix) {
  const std::vector<std::string> all = names();
  bool missing = false;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (std::string_view(all[i]).substr(0, prefix.size()) != prefix) continue;
    zip_stat_t status;
    zip_stat_init(&status);
    if (zip_stat_index(zip_, i, 0, &status) != 0 || status.size == 0) continue;
    if (status.crc != 0) return false;
    missing = true;
  }
  sums_missing_ = sums_missing_ || missing;
  return missing;
}

void ZipArchive::read(const Entry& entry, std::span<std::byte> out) const {
  const bool unsummed = sums_missing_ && entry.sum == 0 && !out.empty();
  if (unsummed && !entry.stored)
    fail(op_, "{}: entry {}: is compressed and has no check sum; write the archive with check sums", name_,
         entry.name);
  fill(entry, out, !unsummed);
}

void ZipArchive::read_front(const Entry& entry, std::span<std::byte> out) const { fill(entry, out, false); }

void ZipArchive::fill(const Entry& entry, std::span<std::byte> out, bool to_the_end) const {
  zip_file_t* file = zip_fopen_index(zip_, entry.index, 0);
  if (file == nullptr) fail(op_, "{}: entry {}: {}", name_, entry.name, zip_strerror(zip_));
  std::size_t done = 0;
  zip_int64_t step = 1;
  while (done < out.size() && step > 0) {
    step = zip_fread(file, out.data() + done, std::min<std::size_t>(out.size() - done, std::size_t{1} << 30));
    if (step > 0) done += static_cast<std::size_t>(step);
  }
  // The check sum is compared when the end is met, not before: without one, nothing is read past the last
  // byte.
  char past_end = 0;
  const bool whole = done == out.size() && (!to_the_end || zip_fread(file, &past_end, 1) == 0);
  const std::string reason = zip_error_strerror(zip_file_get_error(file));
  zip_fclose(file);
  if (!whole)
    fail(op_, "{}: entry {}: byte {} of {}: damaged: {}", name_, entry.name, done, out.size(), reason);
}

std::shared_ptr<std::byte> ZipArchive::read(const Entry& entry) const {
  const std::shared_ptr<float> buffer =
      Pool::global().allocate(static_cast<std::int64_t>((entry.bytes + 3) / 4));
  const std::shared_ptr<std::byte> bytes(buffer, reinterpret_cast<std::byte*>(buffer.get()));
  read(entry, {bytes.get(), static_cast<std::size_t>(entry.bytes)});
  return bytes;
}

}  // namespace locant
