//! npm and Prisma as typed steps and checks of runbooks.
