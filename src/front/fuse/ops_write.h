// SPDX-License-Identifier: Apache-2.0
/* Handlers of the operations that would change something; all refuse. */
#ifndef TL_FRONT_FUSE_OPS_WRITE_H
#define TL_FRONT_FUSE_OPS_WRITE_H

#include "front/fuse/internal.h"

void tl_fuse_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void tl_fuse_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void tl_fuse_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void tl_fuse_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void tl_fuse_op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void tl_fuse_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
                       unsigned int flags);
void tl_fuse_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void tl_fuse_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);
void tl_fuse_op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t offset,
                      struct fuse_file_info *fi);
void tl_fuse_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                          struct fuse_file_info *fi);
void tl_fuse_op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags);
void tl_fuse_op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

#endif
