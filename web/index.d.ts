// SPDX-License-Identifier: Apache-2.0

/** What a file says without decoding. */
export interface Header {
  width: number; // pixels, 1..65535
  height: number;
  quality: number; // 1..100; 0: lossless, or each value within a bound that was asked for
  gray: boolean;
  alpha: boolean;
  modelId: number; // of the weights that it needs; 0: none
  tile: number; // side in pixels
  tileColumns: number;
  tileRows: number;
}

export interface HeaderOptions {
  /** The most that width * height of a file may be; default 67,108,864. */
  maxPixels?: number;
}

export interface DecodeOptions extends HeaderOptions {
  /** x, y, width, height in pixels of the whole picture: only the tiles that it needs are read and decoded. */
  region?: [number, number, number, number];
  /** Default 1. A pixel is the mean of 2x2, 4x4 or (nearly) 8x8. */
  scale?: 1 | 0.5 | 0.25 | 0.125;
  /** 1..16, the most that decode parts of the picture at once; default: the cores, at most 4. The pixels do not depend on it. */
  threads?: number;
}

export interface Pixels {
  width: number;
  height: number;
  data: Uint8ClampedArray; // RGBA, rows from the top
}

/** Pixels RGBA, those of every decoder: an ImageData where there is one. Not turned by an EXIF orientation.
 *  Throws FormatError, TruncatedError, UnsupportedError, InputError. */
export function decode(data: ArrayBuffer | ArrayBufferView, options?: DecodeOptions): Promise<Pixels>;

/** A PNG file that shows the picture: turned as its EXIF block says, with its ICC profile. Throws as decode does. */
export function decodeToPng(data: ArrayBuffer | ArrayBufferView, options?: DecodeOptions): Promise<Uint8Array>;

export interface EncodeOptions {
  /** 1..100, default 55. */
  quality?: number;
  /** The most bytes that the file may have: the quality follows, and up to 2 % may be left. Not with quality. Takes as long as a few files. */
  bytes?: number;
  /** "m" (default), "s": smaller and faster; or what addWeights gave for a whole weights file. */
  model?: "m" | "s" | number;
  /** 0..9, default 3: how hard to look for a smaller file. Up to 1 it takes half the time; from 4 on 3 to 40 gradients in place of 2. */
  effort?: number;
  /** The most that width * height may be; default 67,108,864. */
  maxPixels?: number;
}

/** The bytes of an .aec file of pixels RGBA, such as an ImageData: all by networks, as `aecodec encode` does photographs; gray where no
 *  pixel has a color. Networks of
 *  the encoder are fetched on the first call. Throws InputError for a picture or an option that cannot be used and for bytes that no file of
 *  the picture has, UnsupportedError for alpha other than 255. */
export function encode(image: Pixels, options?: EncodeOptions): Promise<Uint8Array>;

/** The first 22 bytes of a file are enough. Throws as decode does. */
export function readHeader(data: ArrayBuffer | ArrayBufferView, options?: HeaderOptions): Promise<Header>;

/** Weights besides the shipped ones, by URL or bytes: of a weights file or its receiver. The model id of files that need them. */
export function addWeights(source: URL | string | Uint8Array): Promise<number>;

/** Whether SIMD is used, by default where there is any; for measurements. */
export function useSimd(wanted: boolean): Promise<void>;

/** Base of all errors; the message is one line. */
export class CodecError extends Error {}
/** The data is no well-formed .aec file. */
export class FormatError extends CodecError {}
/** The data ends before the length that it announces. */
export class TruncatedError extends FormatError {}
/** The file needs a newer format version, an unknown critical section or other weights. */
export class UnsupportedError extends CodecError {}
/** An option, a picture or weights that cannot be used. */
export class InputError extends CodecError {}
