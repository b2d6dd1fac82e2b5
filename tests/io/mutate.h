#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/rng.h"
#include "io/tensor_file.h"

namespace locant::testing {

using Bytes = std::vector<std::byte>;

inline Bytes read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto bytes = std::as_bytes(std::span(text));
  return Bytes(bytes.begin(), bytes.end());
}

inline void write_bytes(const std::string& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline Bytes bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return Bytes(bytes.begin(), bytes.end());
}

/// A literal with its embedded zeros.
template <std::size_t N>
std::string raw(const char (&text)[N]) {
  return std::string(text, N - 1);
}

/// An empty folder of the running test's own, removed with the object.
class Folder {
 public:
  Folder() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("locant-{}-{}-{}", test->test_suite_name(), test->name(), ::getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The text of the Error that `body` throws; a test failure when it throws none.
inline std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "no Error";
  return "";
}

using Parse = std::function<std::unique_ptr<TensorFile>(std::span<const std::byte>)>;

/// Reads every tensor of what `parse` makes of the bytes: true when all went well, false for an Error other
/// than that of a tensor whose type is not read. Anything else (another exception, a crash) fails the test.
inline bool survives(const Parse& parse, const Bytes& bytes) {
  // A heap copy of the exact size: the address sanitizer then sees each read past its end.
  const std::unique_ptr<std::byte[]> copy(new std::byte[bytes.size()]);
  std::copy(bytes.begin(), bytes.end(), copy.get());
  try {
    const auto file = parse({copy.get(), bytes.size()});
    for (const TensorInfo& info : file->tensors()) {
      if (info.dtype == DType::other) {
        EXPECT_THROW(file->read(info.name), Error);
        file->release(info.name);
        continue;
      }
      const Tensor tensor = file->read(info.name);
      EXPECT_EQ(tensor.shape(), info.shape);
      volatile float sum = 0;
      for (const float x : tensor.values()) sum = sum + x;
      file->release(info.name);
    }
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Every proper prefix of the file.
inline void truncate_everywhere(const Parse& parse, const Bytes& bytes, bool must_fail) {
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    const bool fine =
        survives(parse, Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length)));
    EXPECT_FALSE(must_fail && fine) << "cut to " << length << " of " << bytes.size() << " bytes";
  }
}

/// `rounds` copies with one to four bytes changed each, half of them to nasty values. Returns how many were
/// still read.
inline int flip_bytes(const Parse& parse, const Bytes& bytes, int rounds, std::uint64_t seed) {
  constexpr unsigned char kNasty[] = {0x00, 0x01, 0x7F, 0x80, 0xFF, '.', '(',
                                      'R',  '}',  ']',  't',  'h',  '2', '9'};
  Rng rng(seed);
  int fine = 0;
  for (int round = 0; round < rounds; ++round) {
    Bytes changed = bytes;
    const std::uint64_t count = 1 + rng.below(4);
    for (std::uint64_t i = 0; i < count; ++i) {
      const bool nasty = rng.below(2) == 0;
      const auto value =
          nasty ? kNasty[rng.below(std::size(kNasty))] : static_cast<unsigned char>(rng.below(256));
      changed[rng.below(changed.size())] = std::byte{value};
    }
    fine += survives(parse, changed) ? 1 : 0;
  }
  return fine;
}

}  // namespace locant::testing
