"""What Argo CD reads: an Application for each environment, and the program that moves an image from one to the next."""
