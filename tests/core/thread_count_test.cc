#include "core/thread_count.h"

#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "core/parallel.h"

namespace locant {
namespace thread_count_test {

TEST(ThreadCount, LocantNumThreads) {
  EXPECT_EQ(parse_locant_num_threads("1"), 1);
  EXPECT_EQ(parse_locant_num_threads(" 7 "), 7);
  EXPECT_EQ(parse_locant_num_threads("1024"), kMaxThreads);
  for (const std::string text :
       {"0", "-1", "1025", "4,2", "four", "4 2", "2.5", " ", "0x4", "99999999999999999999"})
    try {
      parse_locant_num_threads(text);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("LOCANT_NUM_THREADS is '" + text + "'"), std::string::npos);
    }
}

TEST(ThreadCount, OmpNumThreads) {
  EXPECT_EQ(parse_omp_num_threads("4"), 4);
  EXPECT_EQ(parse_omp_num_threads("4,2"), 4);
  EXPECT_EQ(parse_omp_num_threads(" 3 , 2 , 1 "), 3);
  EXPECT_EQ(parse_omp_num_threads("5000"), kMaxThreads);
  for (const char* text : {"", "0", "-2", "4,", ",4", "4,0", "4,x", "many", "4 2"})
    EXPECT_FALSE(parse_omp_num_threads(text).has_value()) << text;
}

}  // namespace thread_count_test
}  // namespace locant
