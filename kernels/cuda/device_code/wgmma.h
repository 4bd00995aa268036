#pragma once
// The text of wgmma.mma_async.m64nNk16 (bf16 in, fp32 out) for the widths N that the kernels take;
// ptx_sm90.h says what it does. The text of an instruction names each of its registers, which the
// macros spell out in pieces of eight: another N is one line at the end.
#include <cstdint>

namespace seq1f1b::kernels::cuda {

#define SEQ1F1B_D8(i)                                                                         \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define SEQ1F1B_D24 SEQ1F1B_D8(0), SEQ1F1B_D8(8), SEQ1F1B_D8(16)
#define SEQ1F1B_D32 SEQ1F1B_D24, SEQ1F1B_D8(24)
#define SEQ1F1B_D40 SEQ1F1B_D32, SEQ1F1B_D8(32)
#define SEQ1F1B_D48 SEQ1F1B_D40, SEQ1F1B_D8(40)
#define SEQ1F1B_D56 SEQ1F1B_D48, SEQ1F1B_D8(48)
#define SEQ1F1B_D64 SEQ1F1B_D56, SEQ1F1B_D8(56)
#define SEQ1F1B_D96 SEQ1F1B_D64, SEQ1F1B_D8(64), SEQ1F1B_D8(72), SEQ1F1B_D8(80), SEQ1F1B_D8(88)
#define SEQ1F1B_D128 SEQ1F1B_D96, SEQ1F1B_D8(96), SEQ1F1B_D8(104), SEQ1F1B_D8(112), SEQ1F1B_D8(120)
#define SEQ1F1B_NAMES24                    \
  "%0, %1, %2, %3, %4, %5, %6, %7"         \
  ", %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23"
#define SEQ1F1B_NAMES32 \
  SEQ1F1B_NAMES24       \
  ", %24, %25, %26, %27, %28, %29, %30, %31"
#define SEQ1F1B_NAMES40 \
  SEQ1F1B_NAMES32       \
  ", %32, %33, %34, %35, %36, %37, %38, %39"
#define SEQ1F1B_NAMES48 \
  SEQ1F1B_NAMES40       \
  ", %40, %41, %42, %43, %44, %45, %46, %47"
#define SEQ1F1B_NAMES56 \
  SEQ1F1B_NAMES48       \
  ", %48, %49, %50, %51, %52, %53, %54, %55"
#define SEQ1F1B_NAMES64 \
  SEQ1F1B_NAMES56       \
  ", %56, %57, %58, %59, %60, %61, %62, %63"
#define SEQ1F1B_NAMES96                      \
  SEQ1F1B_NAMES64                            \
  ", %64, %65, %66, %67, %68, %69, %70, %71" \
  ", %72, %73, %74, %75, %76, %77, %78, %79" \
  ", %80, %81, %82, %83, %84, %85, %86, %87" \
  ", %88, %89, %90, %91, %92, %93, %94, %95"
#define SEQ1F1B_NAMES128                             \
  SEQ1F1B_NAMES96                                    \
  ", %96, %97, %98, %99, %100, %101, %102, %103"     \
  ", %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119" \
  ", %120, %121, %122, %123, %124, %125, %126, %127"
#define SEQ1F1B_WGMMA(n, names, a, b, add, majors)                                    \
  "{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n \
  "k16.f32.bf16.bf16 {" names "}, " a ", " b ", p, 1, 1, " majors ";\n}\n"

template <int kN>
struct Wgmma;
// ss: both operands in shared memory; rs: a in registers. i0 to i6: the operands behind the n / 2
// registers of d.
#define SEQ1F1B_WGMMA_SHAPE(n, text, registers, names, i0, i1, i2, i3, i4, i5, i6)                 \
  template <>                                                                                      \
  struct Wgmma<n> {                                                                                \
    template <int kAdd, int kOuterA, int kOuterB>                                                  \
    __device__ static __forceinline__ void ss(float (&d)[n / 2], std::uint64_t a,                  \
                                              std::uint64_t b) {                                   \
      asm volatile(SEQ1F1B_WGMMA(text, names, i0, i1, i2, i3 ", " i4)                              \
                   : registers                                                                     \
                   : "l"(a), "l"(b), "n"(kAdd), "n"(kOuterA), "n"(kOuterB));                       \
    }                                                                                              \
    template <int kAdd, int kOuterB>                                                               \
    __device__ static __forceinline__ void rs(float (&d)[n / 2], const std::uint32_t* a,           \
                                              std::uint64_t b) {                                   \
      asm volatile(SEQ1F1B_WGMMA(text, names, "{" i0 ", " i1 ", " i2 ", " i3 "}", i4, i5, i6)      \
                   : registers                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(kAdd), "n"(kOuterB)); \
    }                                                                                              \
  }
SEQ1F1B_WGMMA_SHAPE(48, "48", SEQ1F1B_D24, SEQ1F1B_NAMES24, "%24", "%25", "%26", "%27", "%28",
                    "%29", "%30");
SEQ1F1B_WGMMA_SHAPE(64, "64", SEQ1F1B_D32, SEQ1F1B_NAMES32, "%32", "%33", "%34", "%35", "%36",
                    "%37", "%38");
SEQ1F1B_WGMMA_SHAPE(80, "80", SEQ1F1B_D40, SEQ1F1B_NAMES40, "%40", "%41", "%42", "%43", "%44",
                    "%45", "%46");
SEQ1F1B_WGMMA_SHAPE(96, "96", SEQ1F1B_D48, SEQ1F1B_NAMES48, "%48", "%49", "%50", "%51", "%52",
                    "%53", "%54");
SEQ1F1B_WGMMA_SHAPE(112, "112", SEQ1F1B_D56, SEQ1F1B_NAMES56, "%56", "%57", "%58", "%59", "%60",
                    "%61", "%62");
SEQ1F1B_WGMMA_SHAPE(128, "128", SEQ1F1B_D64, SEQ1F1B_NAMES64, "%64", "%65", "%66", "%67", "%68",
                    "%69", "%70");
SEQ1F1B_WGMMA_SHAPE(256, "256", SEQ1F1B_D128, SEQ1F1B_NAMES128, "%128", "%129", "%130", "%131",
                    "%132", "%133", "%134");

#undef SEQ1F1B_WGMMA_SHAPE
#undef SEQ1F1B_WGMMA

}  // namespace seq1f1b::kernels::cuda
