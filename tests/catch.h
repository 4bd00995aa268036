#pragma once
// The one place that knows that Catch2 2.x (Debian 12) and 3.x name their headers differently.
#if SEQ1F1B_CATCH_MAJOR >= 3
#include <catch2/catch_all.hpp>
using Catch::Approx;
#else
#include <catch2/catch.hpp>
#endif
