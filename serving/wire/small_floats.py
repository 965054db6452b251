"""bfloat16 and the 8-bit floats, to and from float32, without a library for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


def decode_bfloat16(bits: Any) -> Any:
    """Returns float32 of the same shape: bfloat16 is the upper half of a float32 (`bits` uint16)."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def encode_bfloat16(values: Any) -> Any:
    """Returns the uint16 bits of `values` rounded to bfloat16, to nearest and ties to even."""
    wide = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (wide + (0x7FFF + ((wide >> 16) & 1))) >> 16
    quiet_nan = ((wide >> 16) & 0x8000) | 0x7FC0
    return np.where((wide & 0x7FFFFFFF) > 0x7F800000, quiet_nan, rounded).astype(np.uint16)


@dataclass(frozen=True)
class Float8:
    """One 8-bit float format.

    E5M2 and E4M3FN are those of Micikevicius et al. 2022, "FP8 Formats for Deep Learning".

    Attributes:
        mantissa_bits: bits behind the implicit one.
        bias: what is subtracted from the stored exponent.
        largest: bit pattern of the largest finite number.
        nan: bit pattern of NaN.
        overflow: bit pattern, without sign, of what is too large: infinity or NaN.
        unsigned_zero: there is no -0; its pattern is NaN ("FNUZ": finite, NaN, unsigned zero).
    """

    mantissa_bits: int
    bias: int
    largest: int
    nan: int
    overflow: int
    unsigned_zero: bool = False

    @cached_property
    def _finite(self) -> Any:
        """float64 [largest + 2]: the non-negative numbers in order of their bits, and the next one beyond."""
        code = np.arange(self.largest + 2)
        exponent, mantissa = code >> self.mantissa_bits, code & ((1 << self.mantissa_bits) - 1)
        normal = (1 << self.mantissa_bits) + mantissa
        significand = np.where(exponent == 0, mantissa, normal).astype(np.float64)
        return np.ldexp(significand, np.maximum(exponent, 1) - self.bias - self.mantissa_bits)

    @cached_property
    def _table(self) -> Any:
        """float32 [256]: the value of each bit pattern."""
        half = np.full(128, np.nan, np.float32)
        half[: self.largest + 1] = self._finite[:-1]
        if self.overflow != self.nan & 0x7F and not self.unsigned_zero:
            half[self.overflow] = np.inf
        table = np.concatenate([half, -half])
        if self.unsigned_zero:
            table[0x80] = np.nan
        return table

    def decode(self, bits: Any) -> Any:
        """Returns the float32 values of uint8 `bits`, of the same shape."""
        return self._table[bits]

    def encode(self, values: Any) -> Any:
        """Returns the uint8 bits of `values` rounded to nearest, ties to even."""
        exact = np.asarray(values, dtype=np.float64)
        middles = (self._finite[1:] + self._finite[:-1]) / 2
        magnitude = np.abs(exact)
        code = np.searchsorted(middles, magnitude, side="left")
        tie = (code < len(middles)) & (magnitude == middles[np.minimum(code, len(middles) - 1)])
        code = code + (tie & (code & 1 == 1))
        too_large = code > self.largest
        code = np.where(too_large, self.overflow, code)
        negative = np.signbit(exact) & ~(self.unsigned_zero & (code == 0))
        code = np.where(negative, code | 0x80, code)
        is_nan = np.isnan(exact) | (too_large & self.unsigned_zero)
        return np.where(is_nan, self.nan, code).astype(np.uint8)


FLOAT8 = {
    "float8_e5m2": Float8(2, 15, largest=0x7B, nan=0x7E, overflow=0x7C),
    "float8_e4m3fn": Float8(3, 7, largest=0x7E, nan=0x7F, overflow=0x7F),
    "float8_e4m3fnuz": Float8(3, 8, largest=0x7F, nan=0x80, overflow=0x80, unsigned_zero=True),
    "float8_e4m3b11fnuz": Float8(3, 11, largest=0x7F, nan=0x80, overflow=0x80, unsigned_zero=True),
    "float8_e5m2fnuz": Float8(2, 16, largest=0x7F, nan=0x80, overflow=0x80, unsigned_zero=True),
}
