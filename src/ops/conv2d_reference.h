#pragma once

#include <cstdint>

namespace locant::reference {

/// Extents of a convolution: x (B, C, H, W), weight (out, C / groups, kh, kw), y (B, out, rows, columns).
struct ConvShape {
  std::int64_t B, C, H, W, out, kh, kw, rows, columns, groups, stride_rows, stride_columns, pad_rows,
      pad_columns;
};

/// body(index in x, index in weight, index in y) for every product of the convolution.
template <class Body>
void for_each_product(const ConvShape& s, std::int64_t first_image, std::int64_t last_image,
                      const Body& body) {
  const std::int64_t in = s.C / s.groups, out = s.out / s.groups;
  for (std::int64_t b = first_image; b < last_image; ++b)
    for (std::int64_t o = 0; o < s.out; ++o)
      for (std::int64_t c = 0; c < in; ++c)
        for (std::int64_t u = 0; u < s.kh; ++u)
          for (std::int64_t v = 0; v < s.kw; ++v)
            for (std::int64_t i = 0; i < s.rows; ++i) {
              const std::int64_t h = i * s.stride_rows - s.pad_rows + u;
              if (h < 0 || h >= s.H) continue;
              for (std::int64_t j = 0; j < s.columns; ++j) {
                const std::int64_t w = j * s.stride_columns - s.pad_columns + v;
                if (w < 0 || w >= s.W) continue;
                body(((b * s.C + o / out * in + c) * s.H + h) * s.W + w, ((o * in + c) * s.kh + u) * s.kw + v,
                     ((b * s.out + o) * s.rows + i) * s.columns + j);
              }
            }
}

}  // namespace locant::reference
