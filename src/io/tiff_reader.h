#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/image_decoders.h"

namespace locant::image_io {

struct TiffHandle;

/// What the tags of a page say, with libtiff's numbers.
struct TiffPage {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  int bits = 1;     ///< a sample
  int samples = 1;  ///< a pixel
  int colours = 1;  ///< samples that are no opacity or extra: 1 or 3
  int format = 1;   ///< SAMPLEFORMAT_UINT, .._INT, .._IEEEFP
  int photometric = 0;
  int compression = 1;
  int orientation = 1;
  bool tiled = false;
  bool planes = false;      ///< samples stand apart
  bool alpha = false;       ///< the sample behind the colours is an opacity
  bool multiplied = false;  ///< and the colours were multiplied by it
};

/// A page of a TIFF in memory, by libtiff with error handlers of its own: nothing is printed, and the
/// process's handlers stay as they are.
class TiffReader {
 public:
  /// The page of the options; their note tells when there are others. Throws Error; `name` and `bytes` must
  /// outlive it.
  TiffReader(Bytes bytes, const std::string& name, const DecodeOptions& options);
  ~TiffReader();

  const TiffPage& page() const { return page_; }
  /// Throws Error with a sentence when the page's kind of colours, compression or samples cannot be read as a
  /// picture (`labels` false) or as labels.
  void require_readable(bool labels) const;
  /// The first `count` samples of every pixel: (rows, columns, count). T: 8 bits for up to 8 stored ones,
  /// otherwise as wide as stored. Throws Error.
  template <class T>
  std::vector<T> read(std::int64_t count) const;
  /// YCbCr that is not JPEG, by libtiff's conversion: (rows, columns, 3). Throws Error.
  std::vector<std::uint8_t> read_as_rgb() const;
  /// Colours of a palette, three bytes each. Throws Error.
  std::vector<std::uint8_t> palette() const;

 private:
  template <class T>
  void read_tiles(std::int64_t count, T* out) const;
  template <class T>
  void read_rows(std::int64_t count, T* out) const;
  [[noreturn]] void fail_damaged() const;
  void check_buffer(std::int64_t bytes) const;
  std::unique_ptr<TiffHandle> handle_;
  const std::string& name_;
  std::int64_t limit_;
  TiffPage page_;
};

}  // namespace locant::image_io
