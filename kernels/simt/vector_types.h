#pragma once
// CUDA's built-in vector types, by their names, members and alignments (CUDA C++ Programming Guide,
// "Built-in Vector Types"): the part that the kernels use.

#define SEQ1F1B_SIMT_VECTORS(T, name)                                          \
  struct alignas(2 * sizeof(T)) name##2 {                                      \
    T x, y;                                                                    \
  };                                                                           \
  struct name##3 {                                                             \
    T x, y, z;                                                                 \
  };                                                                           \
  struct alignas(4 * sizeof(T) < 16 ? 4 * sizeof(T) : 16) name##4 {            \
    T x, y, z, w;                                                              \
  };                                                                           \
  inline constexpr name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline constexpr name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline constexpr name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

SEQ1F1B_SIMT_VECTORS(signed char, char)
SEQ1F1B_SIMT_VECTORS(unsigned char, uchar)
SEQ1F1B_SIMT_VECTORS(short, short)
SEQ1F1B_SIMT_VECTORS(unsigned short, ushort)
SEQ1F1B_SIMT_VECTORS(int, int)
SEQ1F1B_SIMT_VECTORS(unsigned int, uint)
SEQ1F1B_SIMT_VECTORS(long long, longlong)
SEQ1F1B_SIMT_VECTORS(unsigned long long, ulonglong)
SEQ1F1B_SIMT_VECTORS(float, float)
SEQ1F1B_SIMT_VECTORS(double, double)
#undef SEQ1F1B_SIMT_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
