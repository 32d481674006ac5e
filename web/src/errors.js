// SPDX-License-Identifier: Apache-2.0
// What aecodec throws: the names and the tree of aecodec/errors.py.

export class CodecError extends Error {}
export class FormatError extends CodecError {}
export class TruncatedError extends FormatError {}
export class UnsupportedError extends CodecError {}
export class InputError extends CodecError {}

const classes = { CodecError, FormatError, TruncatedError, UnsupportedError, InputError };
for (const [name, one] of Object.entries(classes)) one.prototype.name = name; // whatever a bundler calls them

export function errorOf(name, message) {
  return new (classes[name] ?? CodecError)(message);
}
