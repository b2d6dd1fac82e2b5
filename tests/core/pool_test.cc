#include "core/pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "core/tensor.h"

// Sanitizers have operators of their own.
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LOCANT_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOCANT_SANITIZED
#endif

namespace locant::pool_test {

// While set, new finds no memory in this thread.
thread_local bool g_no_memory = false;

}  // namespace locant::pool_test

#ifndef LOCANT_SANITIZED
// Not inlined: the compiler would see new meet free.
[[gnu::noinline]] void* operator new(std::size_t size) {
  void* memory = locant::pool_test::g_no_memory ? nullptr : std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace locant {
namespace pool_test {

TEST(Pool, HandsBuffersOutAgain) {
  Pool& pool = Pool::global();
  const float* first = nullptr;
  {
    const Tensor t({1000, 100});
    first = t.data();
  }
  const Tensor again({1000, 100});
  EXPECT_EQ(again.data(), first);
  const auto before = pool.stats();
  const Tensor more({12345});
  EXPECT_GE(pool.stats().live_bytes, before.live_bytes + 12345 * 4);
}

// Letting go of a buffer needs no memory: where there is none left it still works.
TEST(Pool, TakesBackWithoutMemory) {
  std::vector<Tensor> tensors;
  for (std::int64_t i = 0; i < 50; ++i) tensors.emplace_back(Shape{5000 + 1000 * i});
  g_no_memory = true;
  tensors.clear();
  g_no_memory = false;
  EXPECT_GT(Pool::global().stats().idle_bytes, 50 * 5000 * 4);
}

TEST(Pool, TrimGivesIdleMemoryBack) {
  Pool& pool = Pool::global();
  { const Tensor t({1 << 20}); }
  EXPECT_GE(pool.stats().idle_bytes, 4 << 20);
  pool.trim();
  EXPECT_EQ(pool.stats().idle_bytes, 0);
}

TEST(Pool, GivesBackWhatNobodyTakes) {
  Pool& pool = Pool::global();
  pool.trim();
  const auto ask = [] {
    for (int i = 0; i < 1024; ++i) {
      const Tensor small({16});
    }
  };
  { const Tensor t({1 << 20}); }
  ask();
  EXPECT_GE(pool.stats().idle_bytes, 4 << 20);  // not yet
  pool.keep_idle_for(std::chrono::milliseconds(0));
  ask();
  EXPECT_LT(pool.stats().idle_bytes, 4 << 20);
  pool.keep_idle_for(std::chrono::minutes(1));
}

// What is in use is nobody else's, whoever asks meanwhile.
TEST(Pool, SweepsBesideBuffersInUse) {
  Pool& pool = Pool::global();
  pool.keep_idle_for(std::chrono::milliseconds(0));
  std::vector<std::thread> threads;
  for (int id = 0; id < 4; ++id)
    threads.emplace_back([id] {
      for (int i = 0; i < 500; ++i) {
        const Tensor t = Tensor::full({64 + i % 7 * 100}, static_cast<float>(id));
        for (const float x : t.values()) ASSERT_EQ(x, static_cast<float>(id));
      }
    });
  for (auto& thread : threads) thread.join();
  pool.keep_idle_for(std::chrono::minutes(1));
}

}  // namespace pool_test
}  // namespace locant
