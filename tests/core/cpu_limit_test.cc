#include "core/cpu_limit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace locant {
namespace cpu_limit_test {

namespace fs = std::filesystem;

/// A made-up root folder.
class QuotaCores : public ::testing::Test {
 protected:
  QuotaCores() : root_(fs::temp_directory_path() / ("locant_cgroup_" + std::to_string(getpid()))) {}
  ~QuotaCores() override { fs::remove_all(root_); }

  void write(const fs::path& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void v2_mount(const std::string& group = "/", const std::string& point = "/sys/fs/cgroup") const {
    write("proc/self/mountinfo", "22 27 0:20 / /proc rw - proc proc rw\n30 23 0:26 " + group + " " + point +
                                     " rw,nosuid shared:4 - cgroup2 cgroup2 rw\n");
  }
  void v1_mount(const std::string& group = "/") const {
    write("proc/self/mountinfo", "33 31 0:29 " + group +
                                     " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                                     "34 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
  }

  fs::path root_;
};

TEST_F(QuotaCores, NothingToReadIsNoQuota) {
  EXPECT_EQ(quota_cores(root_), 0);
  write("proc/self/cgroup", "0::/a\n");
  EXPECT_EQ(quota_cores(root_), 0);
  v2_mount();
  EXPECT_EQ(quota_cores(root_), 0);
}

TEST_F(QuotaCores, OwnGroupOfVersion2) {
  v2_mount();
  write("proc/self/cgroup", "0::/user.slice/job\n");
  write("sys/fs/cgroup/user.slice/job/cpu.max", "250000 100000\n");
  EXPECT_EQ(quota_cores(root_), 3);  // 2.5, rounded up
  write("sys/fs/cgroup/user.slice/job/cpu.max", "20000 100000\n");
  EXPECT_EQ(quota_cores(root_), 1);
  write("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  EXPECT_EQ(quota_cores(root_), 0);
  write("sys/fs/cgroup/other/cpu.max", "100000 100000\n");  // of somebody else
  EXPECT_EQ(quota_cores(root_), 0);
}

TEST_F(QuotaCores, EveryGroupAboveCounts) {
  v2_mount();
  write("proc/self/cgroup", "0::/a/b/c\n");
  write("sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
  write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  EXPECT_EQ(quota_cores(root_), 2);
  write("sys/fs/cgroup/a/b/c/cpu.max", "100000 100000\n");
  EXPECT_EQ(quota_cores(root_), 1);
}

TEST_F(QuotaCores, GroupsOfVersion1) {
  v1_mount();
  write("proc/self/cgroup", "3:cpuset:/elsewhere\n4:cpu,cpuacct:/docker/abc\n0::/\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota_cores(root_), 0);
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "400000\n");
  write("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota_cores(root_), 4);
  write("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
  EXPECT_EQ(quota_cores(root_), 2);
}

// A container's own group is the root of what it sees, under its name outside (version 1 without a name
// space) or under none.
TEST_F(QuotaCores, ContainersSeeTheirGroupAsTheRoot) {
  v1_mount("/docker/abc");
  write("proc/self/cgroup", "4:cpu,cpuacct:/docker/abc/worker\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "600000\n");
  write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  write("sys/fs/cgroup/cpu,cpuacct/worker/cpu.cfs_quota_us", "500000\n");
  write("sys/fs/cgroup/cpu,cpuacct/worker/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(quota_cores(root_), 5);
  write("proc/self/cgroup", "4:cpu,cpuacct:/\n");
  EXPECT_EQ(quota_cores(root_), 6);
  v2_mount();
  write("sys/fs/cgroup/cpu.max", "300000 100000\n");
  for (const std::string group : {"/", "/../neighbour", "/a/../../b", "/gone"}) {
    write("proc/self/cgroup", "0::" + group + "\n");
    EXPECT_EQ(quota_cores(root_), 3) << group;
  }
}

TEST_F(QuotaCores, BothVersionsAtOnceAndAnyMountPoint) {
  write("proc/self/mountinfo",
        "30 23 0:26 / /my\\040groups rw - cgroup2 none rw\n31 23 0:27 / /old rw - cgroup none rw,cpu\n");
  write("proc/self/cgroup", "1:cpu:/x\n0::/y\n");
  write("my groups/y/cpu.max", "700000 100000\n");
  EXPECT_EQ(quota_cores(root_), 7);
  write("old/x/cpu.cfs_quota_us", "900000\n");
  write("old/x/cpu.cfs_period_us", "300000\n");
  EXPECT_EQ(quota_cores(root_), 3);
}

TEST_F(QuotaCores, NonsenseIsNoQuota) {
  v2_mount();
  write("proc/self/cgroup", "\n::\n0::/a\nx\n");
  for (const std::string text :
       {"", "max", "100000", "0 100000", "-5 100000", "100000 0", "a b", "99999999999999999999999 100000"}) {
    write("sys/fs/cgroup/a/cpu.max", text);
    EXPECT_EQ(quota_cores(root_), 0) << text;
  }
  write("proc/self/mountinfo", "30 23 0:26 / -\n - \n-\n- cgroup2\n30 23 0:26 / /sys/fs/cgroup rw -\n");
  EXPECT_EQ(quota_cores(root_), 0);
}

TEST(AffinityCores, AtLeastOne) { EXPECT_GE(affinity_cores(), 1); }

}  // namespace cpu_limit_test
}  // namespace locant
