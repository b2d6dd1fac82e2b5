#include "io/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>

#include "tests/io/mutate.h"

namespace locant {
namespace atomic_file_test {

using testing::bytes_of;
using testing::error_of;
using testing::Folder;
using testing::read_bytes;

std::size_t files_in(const Folder& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path())) ++count;
  return count;
}

mode_t mode_of(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::stat(path.c_str(), &status), 0);
  return status.st_mode & 0777;
}

TEST(AtomicFile, CreatesAndReplaces) {
  const Folder folder;
  write_file_atomically(folder / "a", bytes_of("first"));
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of("first"));
  write_file_atomically(folder / "a", [](ByteSink& sink) {
    sink.write(bytes_of("sec"));
    sink.write({});
    sink.write(bytes_of("ond"));
  });
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of("second"));
  write_file_atomically(folder / "a", std::span<const std::byte>());
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of(""));
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, KeepsTheOrderOfSmallAndLargeWrites) {
  const Folder folder;
  std::string expected;
  write_file_atomically(folder / "a", [&](ByteSink& sink) {
    for (const std::size_t size : {1u, 65535u, 2u, 65536u, 65537u, 200000u, 3u}) {
      const std::string text(size, static_cast<char>('a' + expected.size() % 26));
      sink.write(bytes_of(text));
      expected += text;
    }
  });
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of(expected));
}

TEST(AtomicFile, AWriterThatThrowsLeavesTheOldFile) {
  const Folder folder;
  write_file_atomically(folder / "a", bytes_of("old"));
  EXPECT_THROW(write_file_atomically(folder / "a",
                                     [](ByteSink& sink) {
                                       sink.write(bytes_of(std::string(200000, 'x')));
                                       throw std::runtime_error("stop");
                                     }),
               std::runtime_error);
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of("old"));
  EXPECT_EQ(files_in(folder), 1u) << "no temporary file is left";
}

TEST(AtomicFile, AFullDiskLeavesTheOldFile) {
  const Folder folder;
  write_file_atomically(folder / "a", bytes_of("old"));
  // A limit on file size stands for a disk without room.
  rlimit old_limit{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit low{100000, old_limit.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &low), 0);
  const std::string error =
      error_of([&] { write_file_atomically(folder / "a", bytes_of(std::string(300000, 'x'))); });
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_NE(error.find("cannot be written: File too large"), std::string::npos) << error;
  EXPECT_EQ(read_bytes(folder / "a"), bytes_of("old"));
  EXPECT_EQ(files_in(folder), 1u);
}

TEST(AtomicFile, RespectsTheUmaskAndKeepsAnOldMode) {
  const Folder folder;
  const mode_t old_mask = ::umask(027);
  write_file_atomically(folder / "new", bytes_of("x"));
  ::umask(old_mask);
  EXPECT_EQ(mode_of(folder / "new"), 0640u);
  ASSERT_EQ(::chmod((folder / "new").c_str(), 0604), 0);
  write_file_atomically(folder / "new", bytes_of("y"));
  EXPECT_EQ(mode_of(folder / "new"), 0604u);
}

TEST(AtomicFile, FollowsLinks) {
  const Folder folder;
  std::filesystem::create_directory(folder.path() / "sub");
  write_file_atomically(folder / "sub/real", bytes_of("old"));
  std::filesystem::create_symlink("sub/real", folder.path() / "link");
  write_file_atomically(folder / "link", bytes_of("new"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder.path() / "link"));
  EXPECT_EQ(read_bytes(folder / "sub/real"), bytes_of("new"));
  std::filesystem::create_symlink("loop", folder.path() / "loop");
  EXPECT_NE(error_of([&] { write_file_atomically(folder / "loop", bytes_of("")); }).find("symbolic links"),
            std::string::npos);
}

TEST(AtomicFile, RefusesPathsThatAreNoFiles) {
  const Folder folder;
  std::filesystem::create_directory(folder.path() / "sub");
  const auto error = [&](const std::string& path) {
    return error_of([&] { write_file_atomically(path, bytes_of("x")); });
  };
  EXPECT_NE(error(folder / "sub").find("not a regular file"), std::string::npos);
  EXPECT_NE(error("/dev/null").find("not a regular file"), std::string::npos);
  EXPECT_NE(error(folder / "none/a").find("No such file"), std::string::npos);
  EXPECT_NE(error(folder / "sub/").find("does not name a file"), std::string::npos);
  EXPECT_NE(error("").find("does not name a file"), std::string::npos);
  EXPECT_EQ(files_in(folder), 1u);
  // A name as long as the file system allows leaves no room for a suffix.
  write_file_atomically(folder / std::string(255, 'n'), bytes_of("x"));
  EXPECT_EQ(files_in(folder), 2u);
}

}  // namespace atomic_file_test
}  // namespace locant
