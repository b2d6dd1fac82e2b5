#include "core/error.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/image.h"
#include "io/tensor_file.h"

namespace locant {
namespace error_test {

template <class Act>
Error error_of(const Act& act) {
  try {
    act();
  } catch (const Error& error) {
    return error;
  }
  return {"nothing", "was thrown"};
}

TEST(Error, SaysWhoAndWhat) {
  const Error error = error_of([] { require(1 > 2, "attention", "{} is not above {}", 1, 2); });
  EXPECT_STREQ(error.what(), "[attention] 1 is not above 2");
  EXPECT_EQ(error.op(), "attention");
  EXPECT_EQ(error.kind(), ErrorKind::value);
  const Error copy = error;
  EXPECT_EQ(copy.op(), "attention");
}

TEST(Error, KindsTellWhoHasToAct) {
  EXPECT_EQ(error_of([] { fail(ErrorKind::system, "write", "disk full"); }).kind(), ErrorKind::system);
  const auto read = [](ErrorKind kind) {
    return error_of([&] { reading_file([&]() -> int { fail(kind, "png", "bad"); }); }).kind();
  };
  EXPECT_EQ(read(ErrorKind::value), ErrorKind::file);
  EXPECT_EQ(read(ErrorKind::system), ErrorKind::system);
  EXPECT_EQ(reading_file([] { return 3; }), 3);
}

TEST(Error, ReadersBlameTheFileOrTheSystem) {
  const auto kind = [](const std::string& path) {
    return std::pair(error_of([&] { open_tensor_file(path); }).kind(),
                     error_of([&] { read_image(path); }).kind());
  };
  EXPECT_EQ(kind("/nowhere/at/all"), std::pair(ErrorKind::system, ErrorKind::system));
  const std::string path = (std::filesystem::temp_directory_path() / "locant_error_test.bin").string();
  std::ofstream(path) << "neither weights nor a picture, but long enough to be looked at";
  EXPECT_EQ(kind(path), std::pair(ErrorKind::file, ErrorKind::file));
  std::filesystem::remove(path);
}

TEST(Error, CancellationIsNoError) {
  bool caught = false;
  try {
    throw Cancelled("stopped");
  } catch (const Error&) {
    FAIL() << "a stop was taken for an error";
  } catch (const std::exception& stop) {
    caught = std::string(stop.what()) == "stopped";
  }
  EXPECT_TRUE(caught);
}

}  // namespace error_test
}  // namespace locant
